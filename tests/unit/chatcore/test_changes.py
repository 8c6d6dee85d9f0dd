"""Announcements of changed users, and the caches that subscribe to them."""

import asyncio
import copy
import gc
import weakref
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import pytest

from chatcore import (
    Accounts,
    Changes,
    ChatcoreError,
    ChatNotFound,
    Messenger,
    Overloaded,
    Reset,
    StoreUnavailable,
    User,
    UserNotFound,
    WrongCredentials,
)
from chatcore.changes import changes_of
from chatcore.names import UserName
from chatcore.testing import VirtualClock
from chatcore_memory import InsecureTestHasher, InsecureTestTokens, MemoryStore
from chatcore_memory.contents import Contents

PASSWORD, OTHER = "correct horse battery", "staple of many batteries"

Change = Callable[[Accounts, User], Awaitable[object]]

CHANGES: dict[str, Change] = {
    "change_password": lambda accounts, user: accounts.change_password(user, PASSWORD, OTHER),
    "reset_password": lambda accounts, user: accounts.reset_password(user.name, OTHER),
    "log_out_everywhere": lambda accounts, user: accounts.log_out_everywhere(user),
    "erase": lambda accounts, user: accounts.erase(user, PASSWORD),
}


class Listener:
    def __init__(self) -> None:
        self.heard: list[int] = []

    def hear(self, user_id: int) -> None:
        self.heard.append(user_id)

    def failover(self) -> None:
        self.heard.append(0)


class FailoverStore(MemoryStore):
    """A store that can be replaced by an empty one, as if a standby had lost everything."""

    def __init__(self) -> None:
        super().__init__()
        self.callbacks: list[Callable[[], None]] = []

    def on_failover(self, forget: Callable[[], None]) -> None:
        self.callbacks.append(forget)

    def fail_over(self, contents: Contents) -> None:
        self.contents = contents
        for forget in self.callbacks:
            forget()


class FailingStore(MemoryStore):
    """Writes, then fails with `error` if there is one."""

    error: BaseException | None = None

    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        voided = await super().void_tokens(user_id, from_us, password_hash=password_hash)
        if self.error:
            raise self.error
        return voided

    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        await super().erase_user(user_id, tombstone, erased_us)
        if self.error:
            raise self.error


def accounts_on(store: MemoryStore) -> Accounts:
    return Accounts(store, InsecureTestHasher(), InsecureTestTokens())


async def register(accounts: Accounts, *names: str) -> Sequence[User]:
    return [await accounts.register(name, PASSWORD) for name in names]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_every_change_of_a_user_is_announced_once(change: Change) -> None:
    accounts, listener = accounts_on(MemoryStore()), Listener()
    accounts.changes.subscribe(listener.hear)
    ann, _ = await register(accounts, "ann", "bob")
    await accounts.log_in("ann", PASSWORD)
    assert listener.heard == []
    await change(accounts, ann)
    assert listener.heard == [ann.id]


@pytest.mark.parametrize(
    ("error", "announced"),
    [
        # The write happened or did not.
        (StoreUnavailable(), True),
        (asyncio.CancelledError(), True),
        # Nothing changed.
        (UserNotFound(), False),
        (Overloaded(), False),
    ],
    ids=repr,
)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_change_is_announced_unless_refused(
    change: Change, error: BaseException, announced: bool
) -> None:
    store, listener = FailingStore(), Listener()
    accounts = accounts_on(store)
    accounts.changes.subscribe(listener.hear)
    [ann] = await register(accounts, "ann")
    store.error = error
    with pytest.raises((type(error), ChatcoreError)):
        await change(accounts, ann)
    assert listener.heard == [ann.id] * announced


async def test_a_wrong_password_is_not_announced() -> None:
    accounts, listener = accounts_on(MemoryStore()), Listener()
    accounts.changes.subscribe(listener.hear)
    [ann] = await register(accounts, "ann")
    for change in (
        accounts.erase(ann, "not the password"),
        accounts.change_password(ann, "not the password", OTHER),
    ):
        with pytest.raises(WrongCredentials):
            await change
    assert listener.heard == []


async def test_erase_empties_the_chat_cache_of_every_messenger_on_the_store() -> None:
    store = MemoryStore()
    before = Messenger(store)
    accounts = accounts_on(store)
    after = Messenger(store)
    ann, bob = await register(accounts, "ann", "bob")
    chat = await before.open_chat(ann, bob)
    for messenger in (before, after):
        assert (await messenger.chat(ann, chat.id)).peer_of(ann).name == "bob"
    erased = await accounts.erase(bob, PASSWORD)
    for messenger in (before, after):
        assert (await messenger.chat(ann, chat.id)).peer_of(ann) == erased


async def test_failover_empties_the_chat_cache_of_every_messenger() -> None:
    store = FailoverStore()
    messengers = Messenger(store), Messenger(store)
    ann, bob = await register(accounts_on(store), "ann", "bob")
    chat = await messengers[0].open_chat(ann, bob)
    for messenger in messengers:
        assert await messenger.chat(ann, chat.id) == await messenger.chat_with(ann, "bob") == chat
    store.fail_over(Contents())
    for messenger in messengers:
        with pytest.raises(ChatNotFound):
            await messenger.chat(ann, chat.id)
        with pytest.raises(ChatNotFound):
            await messenger.chat_with(ann, "bob")


@pytest.mark.virtual_time
async def test_failover_forgets_read_markers() -> None:
    store = FailoverStore()
    messenger = Messenger(store)
    ann, bob = await register(accounts_on(store), "ann", "bob")
    chat = await messenger.open_chat(ann, bob)
    for text in ("one", "two"):
        await messenger.send(ann, chat, text)
    before = copy.deepcopy(store.contents)
    assert await messenger.mark_read(bob, chat, 2) == 2
    store.fail_over(before)
    assert (await messenger.state(bob, chat.id)).read_seq == 0
    assert await messenger.mark_read(bob, chat, 2) == 2
    assert (await messenger.state(bob, chat.id)).read_seq == 2


async def test_log_that_gives_a_number_again_answers_with_a_reset() -> None:
    store, clock = FailoverStore(), VirtualClock()
    messenger = Messenger(store, clock=clock)
    ann, bob = await register(accounts_on(store), "ann", "bob")
    chat = await messenger.open_chat(ann, bob)
    before = copy.deepcopy(store.contents)
    await messenger.send(ann, chat, "lost")
    lost = (await messenger.sync(bob)).cursor
    store.fail_over(before)
    clock.advance(timedelta(seconds=1))
    await messenger.send(ann, chat, "new")
    end = (await messenger.sync(bob)).cursor
    assert end.n == lost.n
    assert [*await messenger.follow(bob, after=str(lost)).batch(0)] == [Reset(end)]
    # A cursor of earlier versions has no mark.
    assert [*await messenger.follow(bob, after=lost.at(lost.n)).batch(0)] == []


def test_a_method_that_subscribes_twice_is_called_once() -> None:
    changes, listener = Changes(), Listener()
    changes.subscribe(listener.hear)
    changes.subscribe(listener.hear)
    changes.announce(7)
    assert listener.heard == [7]


def test_a_subscription_keeps_nothing_alive() -> None:
    store = FailoverStore()
    messenger, listener = Messenger(store), Listener()
    changes = changes_of(store)
    changes.subscribe(listener.hear)
    changes.subscribe_failovers(listener.failover)
    left = [weakref.ref(it) for it in (store, messenger, listener)]
    del store, messenger, listener
    gc.collect()
    assert [reference() for reference in left] == [None, None, None]
    assert not vars(changes)["_subscribers"]
    assert not vars(changes)["_of_failovers"]
    changes.announce(7)
    changes.announce_failover()


def test_stores_do_not_share_their_changes() -> None:
    one, other = MemoryStore(), MemoryStore()
    assert changes_of(one) is changes_of(one)
    assert changes_of(one) is not changes_of(other)


def test_a_store_that_cannot_be_weakly_referenced_is_accepted() -> None:
    class Slotted(MemoryStore):
        __hash__ = None  # type: ignore[assignment]

    accounts, listener = accounts_on(Slotted()), Listener()
    accounts.changes.subscribe(listener.hear)
    accounts.changes.announce(7)
    assert listener.heard == [7]
