"""`chatcore backup`: copy the SQLite file while the service runs."""

import argparse
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from chatcore_server.arguments import Commands, Parser, add_flags
from chatcore_server.console import Pace, say
from chatcore_server.settings import CannotStart, Settings

EVERY_SECONDS = 2.0
NICE = 10
MB = 1_000_000


def add_parser(commands: Commands) -> Parser:
    parser = commands.add_parser(
        "backup",
        help="copy the SQLite file while the service runs",
        description="Copy the SQLite file to a new file, in its state at the start; the service "
        "may keep writing. An interrupted backup leaves no file. For PostgreSQL, use pg_dump.",
        allow_abbrev=False,
    )
    parser.add_argument("target", metavar="FILE", help="the file to create; it must not exist")
    add_flags(parser, "database_url")
    return parser


def run(parsed: argparse.Namespace, settings: Settings) -> int:
    back_up(settings.database_url, Path(parsed.target), say)
    return 0


def back_up(database_url: str, target: Path, say: Callable[[str], None]) -> None:
    """Copy the file and report progress.

    Raises CannotStart; and KeyboardInterrupt, also for SIGTERM, after removing the partial copy.
    """
    from chatcore_server.key_file import key_path
    from chatcore_sqlalchemy import CannotOpen, sqlite_path
    from chatcore_sqlalchemy.tools.backup import backup

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # The service takes precedence.
    with contextlib.suppress(OSError):
        os.nice(NICE)
    pace = Pace(EVERY_SECONDS)

    def report(done: int, total: int) -> None:
        if done < total and pace.is_due():
            say(f"copied {done / MB:,.1f} of {total / MB:,.1f} MB")

    try:
        source = sqlite_path(database_url)
        if source is None:
            raise CannotOpen(
                "backup copies SQLite files only; for PostgreSQL use pg_dump or "
                "point-in-time recovery"
            )
        size = backup(source, target, report)
    except CannotOpen as error:
        raise CannotStart(str(error)) from error
    say(f"{target} holds everything stored when the copy began ({size / MB:,.1f} MB)")
    if key_path(source).exists():
        say("The signing key is not in it: a service started on the copy generates a new key")
