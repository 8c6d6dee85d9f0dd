"""The `chatcore` command, on a disk that can be made to fail, with a count of its tasks.

    python -m tests.integration.durability.observed_service FOLDER serve

While FOLDER/error-rate exists, that share of SQLite's operations fails. SIGUSR1 writes the
number of asyncio's tasks to FOLDER/tasks.
"""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from random import Random

from chatcore_server.cli import main
from tests.integration.durability.faults import Faults
from tests.integration.durability.vfs import layered


def observe(folder: Path, arguments: list[str]) -> int:
    random = Random(1)

    def fails(_: int) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return random.random() < float((folder / "error-rate").read_text())
        return False

    def write_tasks(_number: int, _frame: object) -> None:
        (folder / "tasks").write_text(str(len(asyncio.all_tasks())))

    signal.signal(signal.SIGUSR1, write_tasks)
    with layered(Faults(fails, armed=True).layer):
        return main(arguments)


if __name__ == "__main__":
    sys.exit(observe(Path(sys.argv[1]), sys.argv[2:]))
