"""`chatcore migrate`: upgrade the database schema."""

import argparse

from chatcore_server.arguments import Commands, Parser, add_flags
from chatcore_server.console import say
from chatcore_server.settings import Settings


def add_parser(commands: Commands) -> Parser:
    parser = commands.add_parser(
        "migrate",
        help="upgrade the database to this version's schema",
        description="Upgrade the database to this version's schema. `serve` does so itself if the "
        "database is a SQLite file.",
        allow_abbrev=False,
    )
    add_flags(parser, "database_url", "schema")
    return parser


def run(_: argparse.Namespace, settings: Settings) -> int:
    import asyncio

    from chatcore_server.database import migrate

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
    return 0
