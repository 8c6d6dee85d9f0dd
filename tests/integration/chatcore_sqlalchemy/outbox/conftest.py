"""A host and a store, both on SQLite or both on PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from chatcore_sqlalchemy import sqlite_path
from tests.integration.chatcore_sqlalchemy.outbox.flaky import Outboxes
from tests.support.host import Host, PostgresHost, SqliteHost, create_tables


@pytest.fixture
async def host(url: str, tmp_path: Path) -> Host:
    host: Host = SqliteHost(tmp_path / "shop.db") if sqlite_path(url) else PostgresHost(url)
    if isinstance(host, SqliteHost):
        (tmp_path / "shop.db").touch()
    await create_tables(host)
    return host


@pytest.fixture
async def outboxes(host: Host) -> AsyncIterator[Outboxes]:
    async with AsyncExitStack() as engines:
        yield Outboxes(host, engines)
