"""`chatcore copy`: move from a SQLite file to PostgreSQL."""

import argparse
from collections.abc import Callable

from chatcore_server.arguments import Commands, Parser, add_flags
from chatcore_server.console import Pace, say
from chatcore_server.settings import CannotStart, Settings

EVERY_SECONDS = 2.0


def add_parser(commands: Commands) -> Parser:
    parser = commands.add_parser(
        "copy",
        help="copy a SQLite file into a PostgreSQL database",
        description="Copy everything in a SQLite file into an empty PostgreSQL database, and "
        "verify every row. Stop the service first. An interrupted copy leaves the target empty: "
        "run it again.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="URL",
        required=True,
        help="the SQLite file: sqlite:///path",
    )
    parser.add_argument(
        "--to",
        dest="database_url",
        metavar="URL",
        help="postgresql://… (or CHATCORE_DATABASE_URL, which other users cannot see)",
    )
    add_flags(parser, "schema", "pooler")
    return parser


def run(parsed: argparse.Namespace, settings: Settings) -> int:
    copy_database(parsed.source, settings, say)
    return 0


def copy_database(source: str, settings: Settings, say: Callable[[str], None]) -> None:
    """Copy the file to the database of the settings and report progress. Raises CannotStart."""
    import asyncio

    from chatcore_server.key_file import key_path
    from chatcore_sqlalchemy import CannotOpen, sqlite_path
    from chatcore_sqlalchemy.tools.copy import copy

    pace = Pace(EVERY_SECONDS)

    def report(what: str, done: int, total: int) -> None:
        if pace.is_due() or done == total:
            say(f"{what}: {done:,} of {total:,}")

    try:
        file = sqlite_path(source)
        if file is None or sqlite_path(settings.database_url) is not None:
            raise CannotOpen("copy needs --from sqlite:///… and --to postgresql://…")
        rows, before = asyncio.run(
            copy(
                file,
                settings.database_url,
                report,
                schema=settings.schema,
                pooler=settings.pooler,
            )
        )
    except CannotOpen as error:
        raise CannotStart(str(error)) from error
    counts = ", ".join(f"{rows[name]:,} {name}" for name in ("users", "chats", "messages"))
    say(f"{'Already copied' if before else 'Copied'}; every row verified: {counts}")
    if (key := key_path(file)).exists():
        say(f"To keep tokens valid, set CHATCORE_SECRET to the content of {key}")
