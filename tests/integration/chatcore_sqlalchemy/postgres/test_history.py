"""A store follows one history of its database: it refuses a server without it, and forgets what
another server never had."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from chatcore import Messenger, Reset, StoreUnavailable, User, UserName
from chatcore.changes import changes_of
from chatcore.testing.scene import Scene, ann_and_bob, mark, send
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore, migrate
from chatcore_sqlalchemy.postgres import connection as postgres_connection
from chatcore_sqlalchemy.postgres import history
from tests.support.pgbouncer import SHARED, pgbouncer
from tests.support.postgres_server import PostgresServer, name_of
from tests.support.serving_role import serving_role
from tests.support.standby import Pair, address_of, primary_and_standby

SECONDS = 60
OTHER_SYSTEM = "UPDATE store SET system_id = system_id - 1"
LATER_TIMELINE = "UPDATE store SET timeline = timeline + 1"


class Clock:
    """The age of sessions, moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(history, "elapsed", made)
    monkeypatch.setattr(history, "AGE_SPREAD_SECONDS", 0)
    return made


def lines(caplog: pytest.LogCaptureFixture, *words: str) -> list[str]:
    """The lines of the log with all of these words."""
    logged = [record.getMessage() for record in caplog.records if record.name == "chatcore"]
    return [line for line in logged if all(word in line for word in words)]


async def test_opening_remembers_the_server(
    postgres: PostgresServer, postgres_url: str, store: SqlAlchemyStore
) -> None:
    assert store
    kept = postgres.sql("SELECT system_id, timeline FROM store", name_of(postgres_url))
    assert kept == postgres.sql("SELECT system_identifier, 1 FROM pg_control_system()")


async def test_ids_of_users_and_chats_who_were_lost_are_not_given_again(
    postgres: PostgresServer, postgres_url: str
) -> None:
    made = []
    for names in (("ann", "bob"), ("carol", "dave"), ("eve", "fred")):
        async with await SqlAlchemyStore.open(postgres_url) as store:
            one, two = [await store.add_user(UserName(name), "", 0) for name in names]
            made.append((one.id, (await store.open_chat(one.id, two.id, 0)).id))
        if len(made) == 1:
            # As if the server were one that took over.
            postgres.sql("UPDATE store SET timeline = timeline - 1", name_of(postgres_url))
    before, after, later = made
    for former, taken, following in zip(before, after, later, strict=True):
        assert taken > former + history.IDS_LEFT_OUT
        assert following < taken + history.IDS_LEFT_OUT


@pytest.mark.parametrize("change", [OTHER_SYSTEM, LATER_TIMELINE])
async def test_opening_another_history_is_refused_in_one_line(
    change: str, postgres: PostgresServer, postgres_url: str
) -> None:
    async with await SqlAlchemyStore.open(postgres_url):
        postgres.sql(change, name_of(postgres_url))
    for _ in range(2):
        with pytest.raises(CannotOpen) as refused:
            await SqlAlchemyStore.open(postgres_url)
        line = str(refused.value)
        assert line.isprintable()
        assert "`chatcore migrate --adopt`" in line


@pytest.mark.parametrize("change", [OTHER_SYSTEM, LATER_TIMELINE])
async def test_open_store_refuses_another_history_and_logs_it_once(
    change: str,
    postgres: PostgresServer,
    postgres_url: str,
    store: SqlAlchemyStore,
    scene: Scene,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat, ann, _ = scene
    name = name_of(postgres_url)
    postgres.sql(change, name)
    postgres.kill_backends(name)
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            await send(store, chat, ann, "lost")
        with pytest.raises(StoreUnavailable, match="migrate --adopt"):
            await store.last_seq(chat.id)
    [line] = lines(caplog, "refused a connection", "`chatcore migrate --adopt`")
    assert line.isprintable()
    clock.now += history.QUIET_SECONDS
    with pytest.raises(StoreUnavailable):
        await store.last_seq(chat.id)
    assert len(lines(caplog, "refused a connection")) == 2
    postgres.sql("UPDATE store SET system_id = NULL, timeline = NULL", name)
    assert (await send(store, chat, ann, "on")).message.seq == 1


@pytest.mark.parametrize(
    ("revoked", "kept"),
    [
        ("pg_control_system()", "|1"),
        ("pg_walfile_name(pg_lsn)", "1|"),
        ("pg_control_system(), pg_walfile_name(pg_lsn), pg_is_in_recovery()", "|"),
    ],
)
async def test_store_serves_where_the_history_cannot_be_read(
    revoked: str,
    kept: str,
    postgres: PostgresServer,
    postgres_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = name_of(postgres_url)
    with serving_role(postgres, name) as role:
        postgres.sql(f"REVOKE EXECUTE ON FUNCTION {revoked} FROM PUBLIC", name)
        async with await SqlAlchemyStore.open(
            postgres_url.replace("postgres@", f"{role}@")
        ) as store:
            await expect_service(store)
            postgres.kill_backends(name)
            assert await store.end_of_log(0)
    [line] = lines(caplog, "cannot read")
    assert line.count("permission denied") == revoked.count("pg_") - revoked.count("(pg_lsn")
    assert line.isprintable()
    found = postgres.sql("SELECT (system_id / system_id)::text, timeline FROM store", name)
    assert found == kept


async def test_store_serves_through_a_pooler_where_the_history_cannot_be_read(
    postgres: PostgresServer, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = name_of(postgres_url)
    with serving_role(postgres, name) as role:
        revoked = "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC"
        postgres.sql(revoked, name)
        with pgbouncer(postgres_url, role=role, **SHARED) as pooler:
            url = pooler.url(postgres_url).replace("postgres@", f"{role}@")
            async with await SqlAlchemyStore.open(url, pooler="transaction") as store:
                await expect_service(store)
    [line] = lines(caplog, "cannot read", "permission denied")
    assert "timeline (" not in line
    assert postgres.sql("SELECT system_id, timeline FROM store", name) == "|1"


async def test_store_serves_where_the_history_cannot_be_kept(
    postgres: PostgresServer, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = name_of(postgres_url)
    with serving_role(postgres, name) as role:
        postgres.sql(f"REVOKE UPDATE ON store FROM {role}", name)
        async with await SqlAlchemyStore.open(
            postgres_url.replace("postgres@", f"{role}@")
        ) as store:
            await expect_service(store)
    [line] = lines(caplog, "cannot keep", "permission denied")
    assert line.isprintable()


async def expect_service(store: SqlAlchemyStore) -> None:
    chat, ann, bob = await ann_and_bob(store)
    assert (await send(store, chat, ann, "hello")).message.seq == 1
    assert await mark(store, chat, bob, 1) == 1
    assert await store.last_seq(chat.id) == 1


async def test_lost_connection_empties_the_caches(
    postgres: PostgresServer, postgres_url: str, store: SqlAlchemyStore, scene: Scene
) -> None:
    heard = Listener()
    changes_of(store).subscribe_failovers(heard.failover)
    await store.last_seq(scene.chat.id)
    postgres.kill_backends(name_of(postgres_url))
    assert heard.times == 0
    await store.last_seq(scene.chat.id)
    assert heard.times > 0


@pytest.mark.parametrize(
    ("shown", "change"),
    [
        ("page", "UPDATE chatcore.messages SET text = 'new'"),
        ("list", "UPDATE chatcore.chats SET last_seq = 2"),
    ],
)
async def test_page_forgotten_during_its_lookup_is_read_again(
    shown: str,
    change: str,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres_connection, "ANSWER_SECONDS", SECONDS)
    patient = f"statement_timeout={SECONDS}s&lock_timeout={SECONDS}s"
    async with await SqlAlchemyStore.open(f"{postgres_url}&{patient}") as store:
        chat, ann, _ = await ann_and_bob(store)
        await send(store, chat, ann, "lost")

        async def text() -> str:
            if shown == "page":
                [message] = await store.messages_before(chat.id, None, limit=50)
                return message.text
            [summary] = await store.chats_of(ann.id, before=None, limit=50)
            return "new" if summary.last_seq == 2 else "lost"

        assert await text() == "lost"
        await asyncio.gather(store.user_by_id(ann.id), store.user_by_name("bob"))
        holder = await asyncpg.connect(postgres_url)
        async with holder.transaction():
            await holder.execute("LOCK TABLE chatcore.chats")
            reading = asyncio.create_task(text())
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            async with asyncio.timeout(SECONDS):
                while not await holder.fetchval(waiting):  # noqa: ASYNC110 (a server has no event)
                    await asyncio.sleep(0.01)
            # As if another server had given the number again.
            await holder.execute(change)
            kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle' AND"
            await holder.execute(f"{kill} datname = '{name_of(postgres_url)}'")
            heard = Listener()
            changes_of(store).subscribe_failovers(heard.failover)
            await store.user_by_id(ann.id)
            assert heard.times > 0
        assert await reading == "new"
        await holder.close()


class Listener:
    times = 0

    def failover(self) -> None:
        self.times += 1


async def test_number_that_went_down_empties_the_caches(
    postgres: PostgresServer, postgres_url: str, store: SqlAlchemyStore, scene: Scene
) -> None:
    chat, ann, bob = scene
    for text in ("one", "two", "lost"):
        await send(store, chat, ann, text)
    await store.messages_before(chat.id, None, limit=50)
    await store.chats_of(ann.id, before=None, limit=50)
    heard = Listener()
    changes_of(store).subscribe_failovers(heard.failover)
    name = name_of(postgres_url)
    postgres.sql("UPDATE chats SET last_seq = 2; DELETE FROM messages WHERE seq = 3", name)
    page = await store.messages_before(chat.id, None, limit=50)
    assert [message.text for message in page] == ["one", "two"]
    assert heard.times == 1
    postgres.sql("UPDATE chats SET activity = activity - 1", name)
    assert await store.chats_of(bob.id, before=None, limit=50)
    await store.chats_of(ann.id, before=None, limit=50)
    assert heard.times == 1
    postgres.sql("UPDATE chats SET activity = activity - 1", name)
    await store.chats_of(ann.id, before=None, limit=50)
    assert heard.times == 2


# A session's age


async def sessions(postgres: PostgresServer, url: str) -> set[str]:
    of_store = f"datname = '{name_of(url)}' AND application_name = 'chatcore'"
    return {*postgres.sql(f"SELECT pid FROM pg_stat_activity WHERE {of_store}").split()}  # noqa: S608


async def replaced(postgres: PostgresServer, url: str, before: set[str], count: int) -> set[str]:
    """Wait until new sessions have replaced this number of those before. Returns all."""
    async with asyncio.timeout(SECONDS):
        found = before
        while len(found) != len(before) or len(found - before) != count:
            await asyncio.sleep(0.01)
            found = await sessions(postgres, url)
    return found


async def test_old_session_is_replaced_while_it_serves(
    postgres: PostgresServer, postgres_url: str, clock: Clock
) -> None:
    async with await SqlAlchemyStore.open(postgres_url) as store:
        await send_one(store)
        before = await sessions(postgres, postgres_url)
        clock.now += history.AGE_SECONDS - 1
        await store.last_seq(1)
        assert await sessions(postgres, postgres_url) == before
        clock.now += 1
        # The writer's session stays: nothing is sent.
        await store.last_seq(1)
        after = await replaced(postgres, postgres_url, before, 1)
        await store.last_seq(1)
        assert await sessions(postgres, postgres_url) == after


async def send_one(store: SqlAlchemyStore) -> None:
    chat, ann, _ = await ann_and_bob(store)
    await send(store, chat, ann, "hello")
    await store.last_seq(chat.id)


async def test_session_that_was_idle_for_long_is_replaced_before_its_next_use(
    postgres: PostgresServer, postgres_url: str, clock: Clock
) -> None:
    async with await SqlAlchemyStore.open(postgres_url) as store:
        await send_one(store)
        before = await sessions(postgres, postgres_url)
        clock.now += 2 * history.AGE_SECONDS
        await store.last_seq(1)
        chat = await store.chat_by_id(1)
        assert chat
        await send(store, chat, chat.users[0], "on")
        await replaced(postgres, postgres_url, before, 2)


async def test_old_session_stays_if_no_new_one_can_be_made(
    postgres: PostgresServer, postgres_url: str, clock: Clock
) -> None:
    name = name_of(postgres_url)
    async with await SqlAlchemyStore.open(postgres_url) as store:
        await send_one(store)
        before = await sessions(postgres, postgres_url)
        postgres.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        for seconds in (history.AGE_SECONDS, 2 * history.AGE_SECONDS):
            clock.now += seconds
            assert await store.last_seq(1) == 1
        assert await sessions(postgres, postgres_url) == before


# Two servers


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A primary, and a standby for which it does not wait."""
    with primary_and_standby(synchronous=False) as made:
        yield made


@pytest.fixture(scope="module")
def promoted(pair: Pair) -> Pair:
    """The pair once the standby took over, and the primary serves on."""
    if pair.standby.sql("SELECT pg_is_in_recovery()") == "t":
        pair.standby.promote()
    return pair


@pytest.fixture
async def database(pair: Pair) -> str:
    """The name of a database with the current schema."""
    name = pair.primary.new_database()
    await migrate(pair.primary.url(name))
    return name


async def test_standby_is_refused_at_the_start(pair: Pair, database: str) -> None:
    replicated(pair)
    with pytest.raises(CannotOpen, match="is a standby"):
        await SqlAlchemyStore.open(pair.standby.url(database))


def replicated(pair: Pair) -> None:
    """Wait until the standby has everything that the primary has."""
    newest = pair.primary.sql("SELECT pg_current_wal_lsn()")
    pair.standby.wait_for(f"pg_last_wal_replay_lsn() >= '{newest}'::pg_lsn")


async def test_session_whose_server_turned_read_only_is_replaced(pair: Pair, database: str) -> None:
    url = pair.primary.url(database)
    async with await SqlAlchemyStore.open(url) as store:
        chat, ann, _ = await ann_and_bob(store)
        for value in ("on", "off"):
            before = await sessions(pair.primary, url)
            pair.primary.set("default_transaction_read_only", value)
            async with asyncio.timeout(SECONDS):
                # A server reports the change with its next answer.
                while before & await sessions(pair.primary, url):
                    await store.last_seq(chat.id)
                    with suppress(StoreUnavailable):
                        await send(store, chat, ann, "hello", "key")
            assert await store.last_seq(chat.id) in {0, 1}
        assert (await send(store, chat, ann, "hello", "key")).message.seq == 1


async def test_what_another_server_never_had_is_forgotten(
    pair: Pair, database: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        address_of(pair.primary) as address,
        await SqlAlchemyStore.open(address.url(database)) as store,
    ):
        scene, messenger = await ann_and_bob(store), Messenger(store)
        chat, ann, bob = scene
        await messenger.send(ann, chat, "kept")
        replicated(pair)
        pair.standby.fall_behind()
        await messenger.send(ann, chat, "lost")
        await messenger.send(ann, chat, "lost, too")
        assert await messenger.mark_read(bob, chat, 3) == 3
        assert await shown(messenger, scene) == ["kept", "lost", "lost, too"]
        lost = (await messenger.sync(bob)).cursor
        following = messenger.follow(bob, after=lost)
        pair.standby.promote()
        async with await SqlAlchemyStore.open(pair.standby.url(database)) as other:
            # Every lost number is given again before the store notices.
            for text in ("new", "new, too"):
                await send(other, chat, ann, text)
        address.target = pair.standby
        # No connection breaks: only the age of the sessions leads to the other server.
        clock.now += 2 * history.AGE_SECONDS
        assert await shown(messenger, scene) == ["kept", "new", "new, too"]
        # The writer's session is young again, and is not used all the same.
        clock.now = 0
        assert (await messenger.state(bob, chat.id)).read_seq == 0
        assert await messenger.mark_read(bob, chat, 3) == 3
        assert (await messenger.state(bob, chat.id)).read_seq == 3
        end = (await messenger.sync(bob)).cursor
        assert (end.log, end.n) == (lost.log, lost.n)
        # A cursor beyond the end shows without a mark, too.
        assert await store.events_after(lost.at(lost.n + 1), limit=1) is None
        assert [*await following.batch(0)] == [Reset(end)]
        await messenger.send(ann, chat, "on")
        assert await shown(messenger, scene) == ["kept", "new", "new, too", "on"]
    texts = "SELECT string_agg(text, '; ' ORDER BY seq) FROM messages"
    assert pair.primary.sql(texts, database) == "kept; lost; lost, too"
    assert pair.standby.sql(texts, database) == "kept; new; new, too; on"
    assert pair.standby.sql("SELECT timeline FROM store", database) == "2"
    assert len(lines(caplog, "another database server took over")) == 1


async def shown(messenger: Messenger, scene: Scene) -> list[str]:
    """The texts of the page, which has the number of messages that the list has."""
    chat = await messenger.chat_with(scene.ann, "bob")
    [summary] = await messenger.list_chats(scene.ann)
    page = await messenger.page(scene.ann, chat)
    assert summary.last_seq == len(page.messages)
    return [message.text for message in page.messages]


@pytest.fixture
async def twins(promoted: Pair) -> str:
    """The name of an empty database on each server, as if the standby had lost all of it."""
    name = promoted.standby.new_database()
    await migrate(promoted.standby.url(name))
    promoted.primary.sql(f"CREATE DATABASE {name}")
    await migrate(promoted.primary.url(name))
    log = promoted.standby.sql("SELECT log FROM store", name)
    promoted.primary.sql(f"UPDATE store SET log = '{log}'", name)  # noqa: S608
    return name


# Not by waiting for the lock: the limit of a batch for that is short.
WAITING_COMMIT = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN
        WHILE EXISTS (SELECT FROM pg_locks WHERE locktype = ''advisory'' AND objid = 1) LOOP
            PERFORM pg_sleep(0.01);
        END LOOP;
        RETURN NULL;
    END';
CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait();
"""


async def test_commit_on_a_former_server_is_not_acknowledged(
    promoted: Pair, twins: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "ANSWER_SECONDS", SECONDS)
    promoted.primary.sql(WAITING_COMMIT, twins)
    async with (
        address_of(promoted.primary) as address,
        await SqlAlchemyStore.open(f"{address.url(twins)}?statement_timeout={SECONDS}s") as store,
    ):
        chat, ann, _ = await ann_and_bob(store)
        holder = await asyncpg.connect(promoted.primary.url(twins))
        await holder.execute("SELECT pg_advisory_lock(1)")
        sending = asyncio.create_task(send(store, chat, ann, "lost"))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        async with asyncio.timeout(SECONDS):
            while not await holder.fetchval(waiting):  # noqa: ASYNC110 (a server has no event)
                await asyncio.sleep(0.01)
        address.target = promoted.standby
        clock.now += 2 * history.AGE_SECONDS
        assert await store.last_seq(chat.id) == 0
        await holder.close()
        with pytest.raises(StoreUnavailable):
            await sending
    assert promoted.primary.sql("SELECT text FROM messages", twins) == "lost"


async def test_first_read_after_a_long_pause_is_on_the_server_that_took_over(
    promoted: Pair, twins: str, clock: Clock
) -> None:
    async with (
        address_of(promoted.primary) as address,
        await SqlAlchemyStore.open(address.url(twins)) as store,
    ):
        _, ann, _ = await ann_and_bob(store)
        address.target = promoted.standby
        clock.now += 2 * history.AGE_SECONDS
        assert await store.user_by_id(ann.id) is None


async def test_read_on_a_former_server_is_repeated(
    promoted: Pair, twins: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "ANSWER_SECONDS", SECONDS)
    patient = f"statement_timeout={SECONDS}s&lock_timeout={SECONDS}s"
    async with (
        address_of(promoted.primary) as address,
        await SqlAlchemyStore.open(f"{address.url(twins)}?{patient}") as store,
    ):
        _, ann, _ = await ann_and_bob(store)
        holder = await asyncpg.connect(promoted.primary.url(twins))
        async with holder.transaction():
            await holder.execute("LOCK TABLE chatcore.users")
            reading = asyncio.create_task(store.user_by_id(ann.id))
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            async with asyncio.timeout(SECONDS):
                while not await holder.fetchval(waiting):  # noqa: ASYNC110 (a server has no event)
                    await asyncio.sleep(0.01)
            address.target = promoted.standby
            clock.now += 2 * history.AGE_SECONDS
            assert await store.last_seq(1) == 0
        assert await reading is None
        await holder.close()


async def test_former_primary_is_refused_by_those_that_know_of_the_later_one(
    promoted: Pair, twins: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        address_of(promoted.standby) as address,
        await SqlAlchemyStore.open(address.url(twins)) as store,
    ):
        chat, ann, bob = await ann_and_bob(store)
        address.target = promoted.primary
        clock.now += 2 * history.AGE_SECONDS
        # The sessions to the later server are still good.
        assert (await send(store, chat, ann, "one")).message.seq == 1
        assert len(lines(caplog, "refused a connection", "timeline 1")) == 1
        address.cut()
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await send(store, chat, ann, "lost")
            with pytest.raises(StoreUnavailable, match="timeline 1"):
                await store.last_seq(chat.id)
        assert len(lines(caplog, "refused a connection")) == 1
        await expect_refused_host(store, promoted.primary.url(twins), ann, bob)
        address.target = promoted.standby
        assert (await send(store, chat, ann, "two")).message.seq == 2
        await expect_refused_host(store, promoted.primary.url(twins), ann, bob)


async def test_refused_server_of_several_is_tried_last(promoted: Pair, twins: str) -> None:
    first, second = promoted.standby.address, promoted.primary.address
    url = f"postgresql://postgres@{first},{second}/{twins}?target_session_attrs=read-write"
    async with await SqlAlchemyStore.open(url) as store:
        chat, ann, _ = await ann_and_bob(store)
        promoted.standby.stop()
        try:
            # The former primary takes writes, and is the only server that answers.
            with pytest.raises(StoreUnavailable, match="timeline 1"):
                await store.last_seq(chat.id)
        finally:
            promoted.standby.start()
        found = None
        async with asyncio.timeout(SECONDS):
            while found is None:
                # An attempt to connect from before the start is shared, and fails.
                with suppress(StoreUnavailable):
                    found = await store.last_seq(chat.id)
        assert found == 0
        assert (await send(store, chat, ann, "on")).message.seq == 1


async def expect_refused_host(store: SqlAlchemyStore, url: str, ann: User, bob: User) -> None:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    try:
        async with engine.begin() as connection:
            with pytest.raises(StoreUnavailable):
                await store.bound(connection).open_chat(ann.id, bob.id, 0)
    finally:
        await engine.dispose()
