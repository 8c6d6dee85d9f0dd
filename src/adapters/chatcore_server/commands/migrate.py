"""`chatcore migrate`: upgrade the database schema."""

import argparse
import sys
from typing import TYPE_CHECKING

from chatcore_server.arguments import Commands, Parser, add_flags
from chatcore_server.console import say
from chatcore_server.settings import CannotStart, Settings

if TYPE_CHECKING:
    from chatcore_sqlalchemy.engines import Adoption


def add_parser(commands: Commands) -> Parser:
    parser = commands.add_parser(
        "migrate",
        help="upgrade the database to this version's schema",
        description="Upgrade the database to this version's schema. `serve` does so itself if the "
        "database is a SQLite file.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--adopt",
        action="store_true",
        help="then accept the present PostgreSQL server, which services refuse after pg_upgrade, a "
        "restored backup or a move. Stop all services first. The terminal asks for the name of the "
        "database; otherwise it is read from standard input",
    )
    add_flags(parser, "database_url", "schema", "pooler")
    return parser


def run(parsed: argparse.Namespace, settings: Settings) -> int:
    import asyncio

    from chatcore_server.database import adopt, migrate

    before, after, schema, moved_from = asyncio.run(migrate(settings))
    if moved_from is not None:
        say(
            f"Moved the tables from the schema {moved_from} to the schema {schema}; the table "
            f"alembic_version stays in {moved_from}, so that earlier versions refuse to start"
        )
    if before != after:
        say(f"Migrated the database to revision {after}; before: {before or 'empty'}")
    elif moved_from is None:
        say(f"Nothing to do: the database is at revision {after}")
    if parsed.adopt:
        adopted = asyncio.run(adopt(settings, _confirmed))
        if adopted is None:
            raise CannotStart("that is not the name of the database: nothing was adopted")
        say(
            f"Adopted the server of the database {adopted.database}: {adopted.present}; before: "
            f"{adopted.known}. All cursors are void, and clients load their state again"
        )
    return 0


def _confirmed(adoption: "Adoption") -> bool:
    """Whether the operator types the name of the database."""
    if sys.stdin is None:  # Closed.
        return False
    if sys.stdin.isatty():
        say(f"The store knows the server with the {adoption.known}.")
        say(f"The present server has the {adoption.present}.")
        say("If the present one has all messages that count, type the name of the database:")
    return sys.stdin.buffer.readline().decode(errors="replace").strip() == adoption.database
