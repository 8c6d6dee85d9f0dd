"""Runs the `chatcore` command many times, from one process that has imported all that it needs.

Each run is a fork of it with streams, settings and an exit status of its own. As a program, it
reads the runs from standard input and prints the statuses.
"""

import asyncio
import atexit
import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from tests.support.repository import ROOT
from tests.support.service import environment


class Run(NamedTuple):
    arguments: Sequence[str]
    settings: dict[str, str]
    folder: Path
    """Its working folder; also of what it writes."""
    stdin: str = ""
    connect_seconds: float = 60
    """For PostgreSQL: more than a busy machine takes, unless that is what the run is about."""


class Ended(NamedTuple):
    status: int
    stdout: str
    stderr: str


async def run_all(runs: Sequence[Run]) -> list[Ended]:
    """One after the other; what they connect to may be served by this event loop."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.forking"),
        cwd=ROOT,
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate(json.dumps(runs, default=str).encode())
    assert process.returncode == 0
    return [
        Ended(status, (run.folder / "stdout").read_text(), (run.folder / "stderr").read_text())
        for run, status in zip(runs, json.loads(said), strict=True)
    ]


def main() -> None:
    import chatcore_server.serving.server  # noqa: F401 (what each run would import)
    import chatcore_sqlalchemy.postgres.database
    import chatcore_sqlalchemy.tools.copy  # noqa: F401
    from chatcore_server import cli
    from chatcore_sqlalchemy.postgres import connection as postgres_connection

    runs: list[Any] = json.load(sys.stdin)
    statuses = []
    # Not what every run would go through at its end.
    gc.freeze()
    for arguments, settings, folder, stdin, connect_seconds in runs:
        if (pid := os.fork()) == 0:
            os.chdir(folder)
            Path("stdin").write_text(stdin)
            os.dup2(os.open("stdin", os.O_RDONLY), 0)
            for descriptor, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), descriptor)
            os.environ.update({f"CHATCORE_{name.upper()}": settings[name] for name in settings})
            postgres_connection.CONNECT_SECONDS = connect_seconds
            end(cli.main, arguments)
        _, status = os.waitpid(pid, 0)
        statuses.append(os.waitstatus_to_exitcode(status))
    sys.stdout.write(json.dumps(statuses))


def end(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> NoReturn:
    """As the interpreter ends, but for taking apart all that was imported."""
    try:
        status = command(arguments)
    except SystemExit as left:
        status = int(left.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    # What nobody has waited for says so then.
    gc.collect()
    atexit._run_exitfuncs()
    os._exit(status)


if __name__ == "__main__":
    main()
