"""`chatcore check`: verify the contents of the database."""

import argparse
from collections.abc import Callable

from chatcore_server.arguments import Commands, Parser, add_flags
from chatcore_server.console import Pace, say, say_progress
from chatcore_server.settings import CannotStart, Settings

FAULTS_FOUND = 1

QUIET_SECONDS = 2.0
"""Interval between progress reports."""

Say = Callable[[str], None]


def add_parser(commands: Commands) -> Parser:
    parser = commands.add_parser(
        "check",
        help="check the contents of the database",
        description="Check the contents of the database, or of a backup, and print a line for each "
        "fault. Changes nothing; the service may keep running. The exit status is 0 without "
        "faults, 1 with faults, and 2 if the check could not run.",
        allow_abbrev=False,
    )
    add_flags(parser, "database_url", "schema", "pooler")
    return parser


def run(_: argparse.Namespace, settings: Settings) -> int:
    sound = check(settings, say, say_progress)
    return 0 if sound else FAULTS_FOUND


def check(settings: Settings, say: Say, say_progress: Say) -> bool:
    """Print a line for each fault, then the number of rows checked.

    Returns whether the database is free of faults. Raises CannotStart.
    """
    import asyncio

    from chatcore_sqlalchemy import CannotOpen
    from chatcore_sqlalchemy.tools.check import check_database

    pace = Pace(QUIET_SECONDS)

    def report(what: str, number: int, of: int) -> None:
        if pace.is_due():
            say_progress(f"{number} of {of}: {what}")

    sound = True

    def found(fault: str) -> None:
        nonlocal sound
        sound = False
        say(fault)

    try:
        checking = check_database(
            settings.database_url, found, report, schema=settings.schema, pooler=settings.pooler
        )
        counts = asyncio.run(checking)
    except CannotOpen as error:
        raise CannotStart(str(error)) from error
    held = ", ".join(f"{number:,} {name}" for name, number in counts.items())
    say(f"{'No faults' if sound else 'Faults found'} in {held}")
    return sound
