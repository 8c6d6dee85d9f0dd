"""The drain of an outbox is killed repeatedly while a host writes."""

import asyncio
import contextlib
from collections import defaultdict
from pathlib import Path
from random import Random

import pytest

from chatcore.testing.scene import add_user, read_all
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.figures import Figures
from tests.support.fork_server import Forked, fork_server
from tests.support.host import Host, PostgresHost, SqliteHost, create_tables, insert
from tests.support.service import environment, run
from tests.support.soak import long, soak_only

USERS = ("ann", "bob", "eve", "dan")
MOST_WAITING = 400


class Shop:
    """A host that writes an order and its message in one transaction, and takes back every fifth.

    Each message is the order's number, so the table of orders says what the chats must hold.
    """

    def __init__(self, host: Host, random: Random) -> None:
        self.host = host
        self._random = random
        self._order = 0
        # One transaction at a time: only then is the order of their rows promised.
        self._turn = asyncio.Lock()

    async def trade(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if await self.waiting() < MOST_WAITING:
                await self._transactions(20)
            await asyncio.sleep(0.05)

    async def fill(self, count: int) -> None:
        """Write until so many rows wait."""
        while await self.waiting() < count:
            await self._transactions(20)

    async def _transactions(self, count: int) -> None:
        async with self._turn:
            for _ in range(count):
                await self._transaction()

    async def _transaction(self) -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with self.host.transaction() as execute:
                for _ in range(self._random.randrange(1, 5)):
                    self._order += 1
                    sender, peer = self._random.sample(USERS, 2)
                    await execute(
                        "INSERT INTO orders (id, buyer, note) "  # noqa: S608
                        f"VALUES ({self._order}, '{sender}', '{peer}')"
                    )
                    await execute(insert(sender, peer, str(self._order)))
                if self._random.random() < 0.2:
                    raise ZeroDivisionError

    async def waiting(self) -> int:
        [(count,)] = await self.host.rows("SELECT count(*) FROM chat_outbox")
        return int(count)

    async def drained(self) -> int:
        [(count,)] = await self.host.rows(
            "SELECT (SELECT count(*) FROM orders) - (SELECT count(*) FROM chat_outbox)"
        )
        return int(count)

    async def orders(self) -> dict[frozenset[str], list[str]]:
        """The numbers of the orders between each two users, in the order of their commits."""
        found: dict[frozenset[str], list[str]] = defaultdict(list)
        for number, buyer, seller in await self.host.rows("SELECT * FROM orders ORDER BY id"):
            found[frozenset((buyer, seller))].append(str(number))
        return found


async def messages(url: str) -> dict[frozenset[str], list[str]]:
    """The texts of each chat, in their order."""
    async with await SqlAlchemyStore.open(url) as store:
        ann = await store.user_by_name(USERS[0])
        assert ann
        found = {}
        for name in USERS:
            user = await store.user_by_name(name)
            assert user
            for summary in await store.chats_of(user.id, before=None, limit=len(USERS)):
                pair = frozenset(each.name for each in summary.chat.users)
                found[pair] = [each.text for each in await read_all(store, summary.chat)]
        return found


def start_drain(folder: Path, settings: dict[str, str]) -> Forked:
    with (folder / "drain.log").open("ab") as log:
        return fork_server().start(
            ["drain", "--follow", "0.01"],
            folder=folder,
            environment=environment(**settings),
            output=log.fileno(),
            errors=log.fileno(),
        )


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=soak_only)])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Host, Host]:
    """The host's database, and that of chatcore."""
    if request.param == "postgres":
        host = PostgresHost(request.getfixturevalue("postgres_url"))
        return host, host
    (tmp_path / "shop.db").touch()
    return SqliteHost(tmp_path / "shop.db"), SqliteHost(tmp_path / "chatcore.db")


@long
async def test_kill_9_of_the_drain_loses_doubles_and_reorders_nothing(
    databases: tuple[Host, Host], tmp_path: Path, soak: bool, figures: Figures
) -> None:
    kills = 60 if soak else 2
    (host, store), random = databases, Random(kills)
    schema = "chatcore" if store.kind == "PostgreSQL" else "main"
    await create_tables(host)
    async with await SqlAlchemyStore.open(store.url) as opened:
        for name in USERS:
            await add_user(opened, name)
    settings = {"outbox_url": host.url, "database_url": store.url}
    shop, stop, between = Shop(host, random), asyncio.Event(), 0
    async with asyncio.TaskGroup() as tasks:
        trading = tasks.create_task(shop.trade(stop))
        for _ in range(kills):
            # More than a batch, so that the kill finds a batch under way.
            await shop.fill(MOST_WAITING // 2)
            drain = await asyncio.to_thread(start_drain, tmp_path, settings)
            await wait_for_drained(shop, drain, await shop.drained() + random.randrange(1, 200))
            await asyncio.sleep(random.random() / 20)
            drain.kill()
            await asyncio.to_thread(drain.wait)
            [(stored,)] = await store.rows(f"SELECT count(*) FROM {schema}.messages")  # noqa: S608
            between += max(0, stored - await shop.drained())
        stop.set()
        await trading
    last = await asyncio.to_thread(run, "drain", cwd=tmp_path, **settings)
    assert (last.returncode, last.stderr) == (0, "")
    assert await shop.waiting() == 0
    expected = await shop.orders()
    assert await messages(store.url) == expected
    checked = await asyncio.to_thread(run, "check", cwd=tmp_path, **settings)
    assert (checked.returncode, checked.stdout[:9]) == (0, "No faults")
    committed = sum(map(len, expected.values()))
    figures.note(
        f"{kills} kills of the drain of an outbox on {store.kind}: {committed:,} committed rows, "
        f"{between:,} of them killed between send and delete"
    )
    figures.faults += kills
    figures.acknowledged += committed


async def wait_for_drained(shop: Shop, drain: Forked, count: int) -> None:
    async with asyncio.timeout(120):
        while await shop.drained() < count:
            assert drain.poll() is None
            await asyncio.sleep(0.002)
