"""A pytest plugin with fixtures for the tests of a host: docs/testing.md.

Every pytest run of an environment with chatcore imports this module, so it imports the rest of
chatcore when a test asks for a fixture. The fixtures are ordinary ones, not asynchronous: they
need no plugin for async tests, and work with each.
"""

import argparse
import typing

import pytest

if typing.TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from chatcore import Accounts, LocalDoorbell, Messenger
    from chatcore.testing import Faults, TwoUsers, VirtualClock
    from chatcore_memory import MemoryStore
    from chatcore_pytest.loop_thread import LoopThread
    from chatcore_sqlalchemy import SqlAlchemyStore

__all__ = [
    "chatcore_accounts",
    "chatcore_clock",
    "chatcore_doorbell",
    "chatcore_faults",
    "chatcore_messenger",
    "chatcore_realm",
    "chatcore_store",
    "chatcore_users",
    "pytest_addoption",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("chatcore").addoption(
        "--chatcore-store",
        type=_kind_of_store,
        default="memory",
        metavar="STORE",
        help="where the fixture chatcore_store keeps its data: memory (default), sqlite, or the "
        "URL of a PostgreSQL server, postgresql://user:password@host/database; each test gets a "
        "new file or database, and that of the URL is left alone",
    )


def _kind_of_store(value: str) -> str:
    # SQLAlchemy's spelling.
    value = value.replace("postgresql+asyncpg://", "postgresql://", 1)
    if value in {"memory", "sqlite"} or value.startswith(("postgresql://", "postgres://")):
        return value
    raise argparse.ArgumentTypeError("expected memory, sqlite or postgresql://…")


@pytest.fixture
def chatcore_clock() -> "VirtualClock":
    """The clock of `chatcore_accounts` and `chatcore_messenger`, which the test moves."""
    from chatcore.testing import VirtualClock

    return VirtualClock()


@pytest.fixture
def chatcore_faults() -> "Faults":
    """Causes faults in `chatcore_store` and `chatcore_doorbell`."""
    from chatcore.testing import Faults

    return Faults()


@pytest.fixture
def chatcore_store(
    chatcore_faults: "Faults", _chatcore_store: "MemoryStore | SqlAlchemyStore"
) -> "MemoryStore | SqlAlchemyStore":
    """An empty store, of the kind that `--chatcore-store` names."""
    return chatcore_faults.store(_chatcore_store)


@pytest.fixture
def chatcore_doorbell(chatcore_faults: "Faults") -> "LocalDoorbell":
    """The doorbell of `chatcore_messenger`."""
    from chatcore import LocalDoorbell

    return chatcore_faults.doorbell(LocalDoorbell())


@pytest.fixture
def chatcore_accounts(
    chatcore_store: "MemoryStore | SqlAlchemyStore", chatcore_clock: "VirtualClock"
) -> "Accounts":
    """Accounts on `chatcore_store`, with a password hasher and tokens for tests."""
    from chatcore import Accounts, Guard
    from chatcore_memory import InsecureTestHasher, InsecureTestTokens

    return Accounts(
        chatcore_store,
        InsecureTestHasher(),
        InsecureTestTokens(),
        clock=chatcore_clock,
        guard=Guard(seconds=chatcore_clock.seconds),
    )


@pytest.fixture
def chatcore_realm() -> str:
    """The realm of `chatcore_messenger`: empty, so that its users are those of `chatcore_accounts`.
    A host with users of its own overrides it."""
    return ""


@pytest.fixture
def chatcore_messenger(
    chatcore_store: "MemoryStore | SqlAlchemyStore",
    chatcore_doorbell: "LocalDoorbell",
    chatcore_clock: "VirtualClock",
    chatcore_realm: str,
) -> "Messenger":
    """A Messenger on `chatcore_store`."""
    from chatcore import Messenger

    return Messenger(
        chatcore_store, realm=chatcore_realm, doorbell=chatcore_doorbell, clock=chatcore_clock
    )


@pytest.fixture
def chatcore_users(
    chatcore_accounts: "Accounts",
    chatcore_messenger: "Messenger",
    chatcore_realm: str,
    _chatcore_loop: "LoopThread",
) -> "TwoUsers":
    """Two users, Ann and Bob, without a chat: `ann, bob = chatcore_users`. With a realm, they are
    the host's users with the handles 1 and 2."""
    from chatcore.testing import two_users

    return _chatcore_loop.run(
        two_users(chatcore_messenger if chatcore_realm else chatcore_accounts)
    )


@pytest.fixture
def _chatcore_store(request: pytest.FixtureRequest) -> "MemoryStore | SqlAlchemyStore":
    """The store without faults. It works on any event loop."""
    kind: str = request.config.getoption("--chatcore-store")
    if kind == "memory":
        from chatcore_memory import MemoryStore

        return MemoryStore()
    found: SqlAlchemyStore = request.getfixturevalue(
        "_chatcore_sqlite" if kind == "sqlite" else "_chatcore_postgres"
    )
    return found


@pytest.fixture
def _chatcore_sqlite(tmp_path: "Path", _chatcore_loop: "LoopThread") -> "Iterator[SqlAlchemyStore]":
    from chatcore_pytest.databases import sql_store

    with sql_store(_chatcore_loop, f"sqlite:///{tmp_path}/chatcore.db") as store:
        yield store


@pytest.fixture
def _chatcore_postgres(
    _chatcore_template: str, pytestconfig: pytest.Config, _chatcore_loop: "LoopThread"
) -> "Iterator[SqlAlchemyStore]":
    from chatcore_pytest.databases import new_database, sql_store

    server: str = pytestconfig.getoption("--chatcore-store")
    with (
        new_database(_chatcore_loop, server, _chatcore_template) as (_, url),
        sql_store(_chatcore_loop, url) as store,
    ):
        yield store


@pytest.fixture(scope="session")
def _chatcore_template(
    pytestconfig: pytest.Config, _chatcore_loop: "LoopThread"
) -> "Iterator[str]":
    """The name of an empty database with the current schema."""
    from chatcore_pytest.databases import migrate, new_database

    server: str = pytestconfig.getoption("--chatcore-store")
    with new_database(_chatcore_loop, server, "template0") as (name, url):
        migrate(_chatcore_loop, url)
        yield name


@pytest.fixture(scope="session")
def _chatcore_loop() -> "Iterator[LoopThread]":
    """An event loop apart from those of the tests, for what fixtures wait for."""
    from chatcore_pytest.loop_thread import LoopThread

    with LoopThread() as thread:
        yield thread
