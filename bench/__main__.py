"""`make bench`: runs everything, prints the report, and writes it to docs/benchmarks.md."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.cells import ALL, Ledger, measure
from bench.data import Data
from bench.growth import growth
from bench.listeners import comings_and_goings, delivery, idle_streams
from bench.report import Row, table, versions
from bench.servers import all_three
from bench.strain import Finding, huge_history, login_storm, slow_disk

CLIENTS = (1, 16, 64)
REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--only", help="the cells whose name contains this, and nothing else")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chatcore-bench-") as name:
        folder = Path(name)
        rows, ledger = rounds(folder, options.rounds, options.seconds, options.only or "")
        findings = [] if options.only else strain(folder, options.seconds)
    report = write(rows, ledger, findings, options.rounds, options.seconds)
    sys.stdout.write(report)
    if not options.only:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(report)
    if ledger.acknowledged != ledger.stored:
        sys.stderr.write("acknowledged and stored differ\n")
        return 1
    return 0 if all(finding.kept for finding in findings) else 1


def rounds(folder: Path, count: int, seconds: float, only: str) -> tuple[list[Row], Ledger]:
    data = Data()
    ledger = Ledger()
    rows = [Row(cell.name, n, [], [], []) for cell in ALL if only in cell.name for n in CLIENTS]
    cells = {cell.name: cell for cell in ALL}
    with all_three(folder, data) as servers:
        for number in range(count):
            for row in rows:
                _tell(f"round {number + 1} of {count}: {row.cell}, {row.clients} clients")
                for server in servers:
                    outcome = measure(cells[row.cell], server, row.clients, seconds, data, ledger)
                    getattr(row, server.name).append(outcome)
    return rows, ledger


def strain(folder: Path, seconds: float) -> list[Finding]:
    strains: dict[str, Callable[[], Finding]] = {
        "slow disk": lambda: slow_disk(folder, Data(), seconds),
        "login storm": lambda: login_storm(folder, Data(), seconds),
        "huge history": lambda: huge_history(folder, seconds),
        "growth": lambda: growth(folder),
        "idle streams": lambda: idle_streams(folder, Data()),
        "delivery": lambda: delivery(folder, Data(), seconds),
        "comings and goings": lambda: comings_and_goings(folder, Data()),
    }
    findings = []
    for name, find in strains.items():
        _tell(name)
        findings.append(find())
    return findings


def write(
    rows: list[Row], ledger: Ledger, findings: list[Finding], count: int, seconds: float
) -> str:
    bullets = "\n".join(
        f"- {finding.text}{'' if finding.kept else ' **Not kept.**'}" for finding in findings
    )
    return f"""# Benchmarks

Made by `make bench`; {versions()}

{os.cpu_count()} cores, shared by the server and the clients. Medians of {count} interleaved
rounds of {seconds:g} s each. A figure by itself says more about the machine than about the
code; the ratios, taken round by round, are what to read.

- *chatcore*: `chatcore serve` on a SQLite file, `synchronous=FULL`: every answer to a send is
  on the disk.
- *ceiling*: the same server, framework, middleware and log settings, with handlers that
  answer the same JSON, ready-made, from no database.
- *textbook*: FastAPI and SQLAlchemy's asynchronous ORM as their tutorials have it, with the
  same durability (`bench/textbook.py`).

{table(rows)}

Sends acknowledged: {ledger.acknowledged:,}; rows stored: {ledger.stored:,}.

{bullets}
"""


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
