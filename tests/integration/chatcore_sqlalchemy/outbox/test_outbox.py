"""A host's rows become messages: exactly once, in order, through refusals and outages."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

import pytest
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncEngine

from chatcore import (
    Actor,
    Allow,
    Chat,
    Draft,
    HostKey,
    InvalidKey,
    Messenger,
    PolicyUnavailable,
    Refuse,
    Sent,
    StoreUnavailable,
    User,
)
from chatcore.testing.scene import Scene, add_user, read_all
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore
from chatcore_sqlalchemy.outbox import (
    Drained,
    expect_table,
    outbox_table,
    refused_rows,
    retry_rows,
)
from chatcore_sqlalchemy.outbox.drain import MAX_OUTAGES
from chatcore_sqlalchemy.outbox.table import Rows
from tests.integration.chatcore_sqlalchemy.outbox.flaky import FlakyMessenger, Outboxes
from tests.support.host import OUTBOX, Host, PostgresHost, SqliteHost, insert

WAITING = "SELECT count(*) FROM chat_outbox"


async def commit(host: Host, *rows: tuple[str, str, str]) -> None:
    async with host.transaction() as execute:
        for row in rows:
            await execute(insert(*row))


async def texts(store: SqlAlchemyStore, user: User, peer: User) -> list[str]:
    chat = await store.chat_with(user.id, peer.name)
    return [] if chat is None else [message.text for message in await read_all(store, chat)]


def sent(count: int) -> Drained:
    return Drained(count, 0, 0, None)


async def test_commit_delivers_and_rollback_leaves_nothing(
    store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    _, ann, bob = scene
    outbox = outboxes(Messenger(store))
    with contextlib.suppress(ZeroDivisionError):
        async with host.transaction() as execute:
            await execute("INSERT INTO orders VALUES (1, 'ann', 'no')")
            await execute(insert("ann", "bob", "never"))
            raise ZeroDivisionError
    assert await outbox.drain() == sent(0)
    async with host.transaction() as execute:
        await execute("INSERT INTO orders VALUES (1, 'ann', 'yes')")
        await execute(insert("Ann", "bob", "bought"))
        if isinstance(host, PostgresHost):
            assert await outbox.drain() == sent(0)
    assert await outbox.drain() == sent(1)
    assert await texts(store, ann, bob) == ["bought"]
    assert await host.rows(WAITING) == [(0,)]
    assert await outbox.drain() == sent(0)


async def test_rows_of_a_chat_are_sent_in_order_across_batches(
    store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    _, ann, bob = scene
    eve = await add_user(store, "eve")
    # Eve has no chat with Ann yet, and both sides of a chat may write.
    pairs = (("ann", "bob"), ("bob", "ANN"), ("eve", "ann"))
    await commit(host, *((*pairs[n % 3], str(n)) for n in range(20)))
    assert await outboxes(Messenger(store), batch=3).drain() == sent(20)
    assert await texts(store, ann, bob) == [str(n) for n in range(20) if n % 3 < 2]
    assert await texts(store, ann, eve) == [str(n) for n in range(20) if n % 3 == 2]


async def test_row_that_commits_late_is_sent(
    store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    _, ann, bob = scene
    outbox = outboxes(Messenger(store))
    if isinstance(host, PostgresHost):
        async with host.transaction() as execute:
            await execute(insert("ann", "bob", "first inserted"))
            await commit(host, ("ann", "bob", "first committed"))
            assert await outbox.drain() == sent(1)
    else:
        await commit(host, ("bob", "ann", "x"), ("ann", "bob", "first committed"))
        assert await outbox.drain() == sent(2)
        async with host.transaction() as execute:
            await execute(
                "INSERT INTO chat_outbox (id, sender, peer, text) "
                "VALUES (1, 'ann', 'bob', 'first inserted')"
            )
    assert await outbox.drain() == sent(1)
    assert (await texts(store, ann, bob))[-2:] == ["first committed", "first inserted"]


async def test_row_committed_during_a_drain_does_not_overtake(
    store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    _, ann, bob = scene

    async def commit_with_id(number: int) -> None:
        async with host.transaction() as execute:
            await execute(
                "INSERT INTO chat_outbox (id, sender, peer, text) "  # noqa: S608
                f"VALUES ({number}, 'ann', 'bob', '{number}')"
            )

    class Interrupted(Messenger):
        async def send_once(
            self, sender: User, chat: Chat, text: str, key: str, *, actor: Actor = Actor.USER
        ) -> Sent:
            if text == "10":
                # A late commit, and a row that was inserted after it.
                await commit_with_id(5)
                await commit_with_id(11)
            return await super().send_once(sender, chat, text, key, actor=actor)

    outbox = outboxes(Interrupted(store), batch=1)
    await commit_with_id(10)
    assert await outbox.drain() == sent(1)
    assert await outbox.drain() == sent(2)
    assert await texts(store, ann, bob) == ["10", "5", "11"]


async def test_refused_row_is_marked_passed_over_listed_and_retried(
    store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    _, ann, bob = scene
    outbox, engine = outboxes(Messenger(store)), outboxes.engine()
    await commit(
        host,
        ("ann", "bob", "one"),
        ("ann", "nobody", "lost"),
        ("ann", "ann", "to myself"),
        ("ann", "bob", " "),
        ("ann", "bob", "x" * 4097),
        ("ann", "bob", "two"),
    )
    assert await outbox.drain() == Drained(2, 4, 0, None)
    assert (outbox.sent, outbox.refused) == (2, 4)
    assert await texts(store, ann, bob) == ["one", "two"]
    rows = await refused_rows(engine, OUTBOX)
    codes = ["user_not_found", "self_chat", "invalid_text", "invalid_text"]
    assert [(row.code, row.refusals) for row in rows] == [(code, 1) for code in codes]
    assert (rows[0].sender, rows[0].peer) == ("ann", "nobody")
    assert rows[0].refused_at.tzinfo is not None
    assert await refused_rows(engine, OUTBOX, after=rows[0].id, limit=1) == [rows[1]]
    assert await outbox.drain() == sent(0)

    nobody = await add_user(store, "nobody")
    assert await retry_rows(engine, OUTBOX, [rows[0].id, rows[1].id, 10**9]) == 2
    assert await outbox.drain() == Drained(1, 1, 0, None)
    assert await texts(store, ann, nobody) == ["lost"]
    assert await retry_rows(engine, OUTBOX) == 3
    assert await outbox.drain() == Drained(0, 3, 0, None)
    assert [row.refusals for row in await refused_rows(engine, OUTBOX)] == [3, 2, 2]


async def test_row_to_a_user_who_blocks_is_refused_until_the_block_ends(
    store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    _, ann, bob = scene
    messenger = Messenger(store)
    outbox, engine = outboxes(messenger), outboxes.engine()
    await messenger.block(bob, ann)
    await commit(host, ("ann", "bob", "hello"))
    assert await outbox.drain() == Drained(0, 1, 0, None)
    await messenger.unblock(bob, ann)
    assert await retry_rows(engine, OUTBOX) == 1
    assert await outbox.drain() == sent(1)
    assert await texts(store, ann, bob) == ["hello"]


@pytest.mark.parametrize("fault", ["lost", "unknown"])
async def test_outage_stops_the_chat_and_no_other(
    fault: str, store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    _, ann, bob = scene
    eve = await add_user(store, "eve")
    messenger = FlakyMessenger(store)
    setattr(messenger, fault, frozenset({"2"}))
    outbox = outboxes(messenger, batch=2)
    peers = ("bob", "bob", "bob", "eve", "eve", "bob")
    await commit(host, *(("ann", peer, str(n)) for n, peer in enumerate(peers, 1)))
    for _ in range(2):
        drained = await outbox.drain()
        assert isinstance(drained.outage, StoreUnavailable)
        assert drained.waiting == 3
        assert await texts(store, ann, bob) == (["1"] if fault == "lost" else ["1", "2"])
        assert await texts(store, ann, eve) == ["4", "5"]
    setattr(messenger, fault, frozenset())
    assert await outbox.drain() == sent(3)
    assert await texts(store, ann, bob) == ["1", "2", "3", "6"]


async def test_outage_of_the_whole_store_ends_the_drain(
    store: SqlAlchemyStore, host: Host, outboxes: Outboxes
) -> None:
    names = [f"user{n}" for n in range(MAX_OUTAGES + 3)]
    for name in names:
        await add_user(store, name)
    messenger = FlakyMessenger(store)
    messenger.lost = frozenset({"hello"})
    await commit(host, *((name, names[0], "hello") for name in names[1:]))
    drained = await outboxes(messenger, batch=1).drain()
    assert (drained.sent, drained.refused, drained.waiting) == (0, 0, len(names) - 1)
    assert messenger.sends == MAX_OUTAGES


async def test_nothing_overtakes_when_users_cannot_be_found(
    store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    _, ann, bob = scene
    messenger = Messenger(store)
    down = True

    async def resolve(handle: str) -> User:
        if down and handle == "id:ann":
            raise StoreUnavailable("down")
        return await messenger.find_user(handle.removeprefix("id:"))

    outbox = outboxes(messenger, resolve=resolve, batch=1)
    await commit(host, ("bob", "ann", "1"), ("id:ann", "bob", "2"), ("bob", "ann", "3"))
    drained = await outbox.drain()
    assert (drained.sent, drained.waiting) == (1, 2)
    down = False
    assert await outbox.drain() == sent(2)
    assert await texts(store, ann, bob) == ["1", "2", "3"]


async def test_two_drains_at_once_send_each_row_once_and_in_order(
    store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    _, ann, bob = scene
    first, second = (outboxes(Messenger(store), batch=batch) for batch in (5, 7))
    await commit(host, *(("ann", "bob", str(n)) for n in range(60)))
    await asyncio.gather(first.drain(), second.drain())
    assert await texts(store, ann, bob) == [str(n) for n in range(60)]
    assert await host.rows(WAITING) == [(0,)]


async def test_row_that_was_sent_but_not_deleted_is_sent_once(
    store: SqlAlchemyStore,
    scene: Scene,
    host: Host,
    outboxes: Outboxes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, ann, bob = scene
    outbox = outboxes(Messenger(store))
    await commit(host, ("ann", "bob", "one"), ("ann", "bob", "two"))
    with monkeypatch.context() as patched:
        patched.setattr(Rows, "settle", lambda *_: 1 / 0)
        with pytest.raises(StoreUnavailable):
            await outbox.drain()
    assert await texts(store, ann, bob) == ["one", "two"]
    assert await host.rows(WAITING) == [(2,)]
    assert await outboxes(Messenger(store)).drain() == sent(2)
    assert await texts(store, ann, bob) == ["one", "two"]


async def test_rows_of_two_outboxes_never_share_a_key(
    store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    _, ann, bob = scene
    other = outbox_table(MetaData(), "other_outbox")
    async with host.transaction() as execute:
        await execute("CREATE TABLE other_outbox AS SELECT * FROM chat_outbox")
        await execute(
            "INSERT INTO other_outbox (id, sender, peer, text, refusals) "
            "VALUES (1, 'ann', 'bob', 'same', 0)"
        )
    await commit(host, ("ann", "bob", "same"))
    messenger = Messenger(store)
    assert await outboxes(messenger).drain() == sent(1)
    assert await outboxes(messenger, other).drain() == sent(1)
    assert await texts(store, ann, bob) == ["same", "same"]


async def test_key_of_the_host_names_a_message_apart_from_keys_of_clients(
    store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    chat, ann, bob = scene
    messenger = Messenger(store)
    await messenger.send_once(ann, chat, "of a client", "order-1")
    with pytest.raises(InvalidKey):
        await messenger.send_once(ann, chat, "of a client", str(HostKey("outbox", "order-1")))
    async with host.transaction() as execute:
        for text, key in (("a", "order-1"), ("a", "order-1"), ("b", "order-1"), ("c", "no key")):
            await execute(
                "INSERT INTO chat_outbox (sender, peer, text, key) "  # noqa: S608
                f"VALUES ('ann', 'bob', '{text}', '{key}')"
            )
    outbox, engine = outboxes(messenger), outboxes.engine()
    assert await outbox.drain() == Drained(2, 2, 0, None)
    assert [row.code for row in await refused_rows(engine, OUTBOX)] == ["key_reused", "invalid_key"]
    assert await texts(store, ann, bob) == ["of a client", "a"]


async def test_value_that_is_not_text_is_refused(
    store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    if not isinstance(host, SqliteHost):
        pytest.skip("only SQLite stores values of other types than the column's")
    async with host.transaction() as execute:
        await execute("INSERT INTO chat_outbox (sender, peer, text) VALUES ('ann', x'ff', 'a')")
        await execute("INSERT INTO chat_outbox (sender, peer, text) VALUES ('ann', 'bob', x'ff')")
    assert await outboxes(Messenger(store)).drain() == Drained(0, 2, 0, None)


async def test_text_that_is_not_utf_8_is_refused_and_stops_no_other(
    store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    if not isinstance(host, SqliteHost):
        pytest.skip("only SQLite stores texts that are not UTF-8")
    _, ann, bob = scene
    outbox = outboxes(Messenger(store))
    latin = "CAST(x'63616665e9' AS TEXT)"
    async with host.transaction() as execute:
        for row in (f"{latin}, 'bob', 'a'", f"'ann', 'bob', {latin}", "'ann', 'bob', 'b'"):
            await execute(f"INSERT INTO chat_outbox (sender, peer, text) VALUES ({row})")  # noqa: S608
    assert await outbox.drain() == Drained(1, 2, 0, None)
    codes = [row.code for row in await refused_rows(outboxes.engine(), OUTBOX)]
    assert codes == ["user_not_found", "invalid_text"]
    assert await texts(store, ann, bob) == ["b"]


class PolicyOfNames:
    """Refuses to send to Eve, fails for names with a digit, and remembers the peers' names."""

    def __init__(self) -> None:
        self.peers: list[str] = []

    async def may_open(self, user: User, peer: User, actor: Actor) -> Allow:
        return Allow()

    async def may_send(self, draft: Draft) -> Allow | Refuse:
        assert draft.actor is Actor.HOST
        name = draft.peer.name
        self.peers.append(name)
        if any(letter.isdigit() for letter in name):
            raise LookupError("no such order")
        return Refuse("shop_no_eve") if name == "Eve" else Allow()


async def test_policy_refuses_rows_and_its_failure_holds_up_one_chat_alone(
    store: SqlAlchemyStore, host: Host, outboxes: Outboxes, caplog: pytest.LogCaptureFixture
) -> None:
    policy = PolicyOfNames()
    messenger = Messenger(store, realm="shop", policy=policy)
    failing = [f"u{n}" for n in range(MAX_OUTAGES + 1)]
    users = await messenger.users({name: name for name in ("ann", "bob", "Eve", *failing)})
    outbox = outboxes(messenger, batch=MAX_OUTAGES + 2)
    await commit(host, *(("ann", peer, "to fail") for peer in failing))
    await commit(host, ("ann", "Eve", "refused"), ("ann", "bob", "sent"))
    drained = await outbox.drain()
    assert (drained.sent, drained.refused, drained.waiting) == (1, 1, len(failing))
    assert isinstance(drained.outage, PolicyUnavailable)
    assert [row.code for row in await refused_rows(outboxes.engine(), OUTBOX)] == ["shop_no_eve"]
    # The policy sees present names, also in a chat that the outbox knows.
    await messenger.user("bob", name="Robert")
    await commit(host, ("ann", "bob", "again"))
    await outbox.drain()
    # The order of the calls for different chats is open.
    assert "Robert" in policy.peers
    chat = await store.chat_with(users["ann"].id, users["bob"].key)
    assert chat is not None
    assert [message.text for message in await read_all(store, chat)] == ["sent", "again"]


async def test_log_says_why_a_policy_failed_and_what_fails_next(
    store: SqlAlchemyStore, host: Host, outboxes: Outboxes, caplog: pytest.LogCaptureFixture
) -> None:
    messenger = Messenger(store, realm="shop", policy=PolicyOfNames())
    await messenger.users({"ann": "ann", "bob": "bob 1"})
    outbox = outboxes(messenger)
    await commit(host, ("ann", "bob", "to fail"))
    running = asyncio.create_task(outbox.run(poll_seconds=600))
    await until(lambda: "the policy failed" in caplog.text)
    assert "no such order" in caplog.text
    async with host.transaction() as execute:
        await execute("ALTER TABLE chat_outbox RENAME TO elsewhere")
    outbox.wake()
    await until(lambda: "the outbox's database failed" in caplog.text)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_sqlalchemy_host_writes_in_its_own_transaction(
    store: SqlAlchemyStore, scene: Scene, host: Host, outboxes: Outboxes
) -> None:
    _, ann, bob = scene
    outbox = outboxes(Messenger(store))
    statement = OUTBOX.insert().values(sender="ann", peer="bob", text="of SQLAlchemy")
    engine = outboxes.engine()
    if isinstance(engine, AsyncEngine):
        async with engine.begin() as connection:
            await connection.execute(statement)
    else:
        with engine.begin() as connection_here:
            connection_here.execute(statement)
    [(key,)] = await host.rows("SELECT key FROM chat_outbox")
    assert len(key) == 32
    assert await outbox.drain() == sent(1)
    assert await texts(store, ann, bob) == ["of SQLAlchemy"]


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(6_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within a minute")


async def test_run_drains_after_wake_logs_an_outage_once_and_ends_when_cancelled(
    store: SqlAlchemyStore,
    scene: Scene,
    host: Host,
    outboxes: Outboxes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, ann, bob = scene
    messenger = FlakyMessenger(store)
    outbox = outboxes(messenger)
    caplog.set_level(logging.WARNING)
    messenger.lost = frozenset({"one"})
    await commit(host, ("ann", "bob", "one"), ("ann", "nobody", "private"))
    running = asyncio.create_task(outbox.run(poll_seconds=600))
    while (tries := messenger.sends) < 3:
        # Without the pause after an outage.
        outbox.wake()
        await until(lambda: messenger.sends > tries)
    messenger.lost = frozenset()
    outbox.wake()
    await until(lambda: outbox.sent == 1)
    await commit(host, ("ann", "bob", "two"))
    outbox.wake()
    await until(lambda: outbox.sent == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "Outbox chat_outbox: row 2 refused: user_not_found"
    assert said[1:] == ["Outbox chat_outbox waits: down", "Outbox chat_outbox is drained again"]
    assert await texts(store, ann, bob) == ["one", "two"]


async def test_missing_table_is_one_line_for_the_operator(
    store: SqlAlchemyStore, host: Host, outboxes: Outboxes
) -> None:
    engine, missing = outboxes.engine(), outbox_table(MetaData(), "missing")
    await expect_table(engine, OUTBOX)
    with pytest.raises(CannotOpen, match=r"cannot read the table missing: .*docs/outbox\.md"):
        await expect_table(engine, missing)
    with pytest.raises(StoreUnavailable, match="the outbox's database failed"):
        await outboxes(Messenger(store), missing).drain()
