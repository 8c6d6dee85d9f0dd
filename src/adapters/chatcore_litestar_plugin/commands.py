"""`litestar chat migrate|check|backup`: commands for the databases of the plugins.

They import SQLAlchemy when they run: a host with a store of its own need not install it.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypedDict

import click

from chatcore_litestar_plugin.config import ChatConfig

FAULTS_FOUND = 1
CANNOT_RUN = 2
NICE = 10
MB = 1_000_000


class _Options(TypedDict):
    schema: str | None
    pooler: Literal["transaction"] | None


class _CannotRun(click.ClickException):
    exit_code = CANNOT_RUN


class _Chats(click.Group):
    """The group that all plugins of an application share."""

    def __init__(self) -> None:
        super().__init__("chat", help="Commands for the database of the chat.")
        self.configs: dict[str, ChatConfig] = {}

    def database(self, path: str | None) -> tuple[str, _Options]:
        """The URL of the database of the chat at this path, or of the only one, and how to open it.
        Raises ClickException."""
        if path is None and len(self.configs) > 1:
            choices = " or ".join(f"--path {each}" for each in self.configs)
            raise click.UsageError(f"the application has several chats; add {choices}")
        config = self.configs.get(path or next(iter(self.configs)))
        if config is None:
            raise click.UsageError(f"no chat at {path}; known: {', '.join(self.configs)}")
        if config.database_url is None:
            raise _CannotRun(f"the chat at {config.path} has no database_url in its ChatConfig")
        return config.database_url, {"schema": config.schema, "pooler": config.pooler}


def add_commands(cli: click.Group, config: ChatConfig) -> None:
    """Add the group to the command line, or the configuration to the group."""
    chats = cli.commands.get("chat")
    if not isinstance(chats, _Chats):
        chats = _Chats()
        for command in (_migrate, _check, _backup):
            chats.add_command(command(chats))
        cli.add_command(chats)
    chats.configs[config.path] = config


_path = click.option(
    "--path", metavar="PATH", help="The path of the chat, if the application has several."
)


def _migrate(chats: _Chats) -> click.Command:
    @click.command("migrate", help="Upgrade the database to this version's schema.")
    @_path
    def command(path: str | None) -> None:
        from chatcore_sqlalchemy import migrate

        url, options = chats.database(path)
        with _one_line():
            before, after, schema, moved_from = asyncio.run(migrate(url, **options))
        if moved_from is not None:
            click.echo(f"Moved the tables from the schema {moved_from} to the schema {schema}")
        if before != after:
            click.echo(f"Migrated the database to revision {after}; before: {before or 'empty'}")
        elif moved_from is None:
            click.echo(f"Nothing to do: the database is at revision {after}")

    return command


def _check(chats: _Chats) -> click.Command:
    @click.command(
        "check",
        help="Check the contents of the database, and print a line for each fault. Changes "
        "nothing; the application may keep running. The exit status is 0 without faults, 1 with "
        "faults, and 2 if the check could not run.",
    )
    @_path
    @click.pass_context
    def command(context: click.Context, path: str | None) -> None:
        from chatcore_sqlalchemy.tools.check import check_database

        url, options = chats.database(path)
        faults = 0

        def found(fault: str) -> None:
            nonlocal faults
            faults += 1
            click.echo(fault)

        with _one_line():
            counts = asyncio.run(check_database(url, found, lambda *_: None, **options))
        held = ", ".join(f"{number:,} {name}" for name, number in counts.items())
        click.echo(f"{'Faults found' if faults else 'No faults'} in {held}")
        context.exit(FAULTS_FOUND if faults else 0)

    return command


def _backup(chats: _Chats) -> click.Command:
    @click.command(
        "backup",
        help="Copy the SQLite file to a new FILE, in its state at the start; the application may "
        "keep running. An interrupted backup leaves no file. For PostgreSQL, use pg_dump.",
    )
    @click.argument("file", type=click.Path(path_type=Path))
    @_path
    def command(file: Path, path: str | None) -> None:
        from chatcore_sqlalchemy import sqlite_path
        from chatcore_sqlalchemy.tools.backup import backup

        # So that an interrupted copy removes its draft.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        # The application takes precedence.
        with contextlib.suppress(OSError):
            os.nice(NICE)
        with _one_line():
            source = sqlite_path(chats.database(path)[0])
            if source is None:
                raise _CannotRun("backup copies SQLite files only; for PostgreSQL use pg_dump")
            size = backup(source, file, lambda *_: None)
        click.echo(f"{file} holds everything stored when the copy began ({size / MB:,.1f} MB)")

    return command


@contextmanager
def _one_line() -> Iterator[None]:
    """Report CannotOpen in one line, with the exit status CANNOT_RUN."""
    from chatcore_sqlalchemy import CannotOpen

    try:
        yield
    except CannotOpen as error:
        raise _CannotRun(str(error)) from error
