"""A database for each test."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chatcore_pytest.loop_thread import LoopThread

try:
    import chatcore_sqlalchemy
    from chatcore_sqlalchemy import SqlAlchemyStore
except ModuleNotFoundError as missing:
    raise pytest.UsageError(
        f"--chatcore-store needs chatcore[sqlalchemy], or chatcore[postgres]: {missing}"
    ) from missing


@contextmanager
def sql_store(thread: LoopThread, url: str) -> Iterator[SqlAlchemyStore]:
    """Open a store that may be used on any event loop."""
    store = thread.run(SqlAlchemyStore.open(url))
    try:
        yield thread.reachable(store)
    finally:
        thread.run(store.close())


def migrate(thread: LoopThread, url: str) -> None:
    """Bring the database to the current schema."""
    thread.run(chatcore_sqlalchemy.migrate(url))


@contextmanager
def new_database(thread: LoopThread, server: str, template: str) -> Iterator[tuple[str, str]]:
    """Create a database on the server, as a copy of the template, and drop it after the block.
    Yields its name and its URL."""
    name = f"chatcore_test_{secrets.token_hex(6)}"
    # The default strategy logs every page, which takes four times as long.
    thread.run(_execute(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
    try:
        yield name, re.sub(r"^(\w+://[^/?]*)(/[^?]*)?", rf"\1/{name}", server)
    finally:
        thread.run(_execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


async def _execute(server: str, statement: str) -> None:
    try:
        from chatcore_postgres import InvalidUrl, read_url
        from chatcore_postgres.failures import FAILURES, in_one_line
        from chatcore_postgres.servers import Servers
    except ModuleNotFoundError as missing:
        raise pytest.UsageError(f"--chatcore-store needs chatcore[postgres]: {missing}") from None
    try:
        session = await Servers(read_url(server)).connect({})
        try:
            await session.execute(statement)
        finally:
            await session.close()
    except (*FAILURES, InvalidUrl) as error:
        raise pytest.UsageError(
            "cannot create a database for each test at the URL of --chatcore-store: "
            f"{in_one_line(error)}"
        ) from error
