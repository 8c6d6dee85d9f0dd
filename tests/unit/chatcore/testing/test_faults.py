"""Faults on demand, through Messenger and Accounts."""

import asyncio
from typing import Any

import pytest

from chatcore import (
    Accounts,
    ChatNotFound,
    ChatState,
    LocalDoorbell,
    MessageSent,
    Messenger,
    StoreUnavailable,
)
from chatcore.ports import AccountStore, ChatStore, People
from chatcore.testing import (
    ACCOUNT_STORE_CHECKS,
    CHAT_STORE_CHECKS,
    DOORBELL_CHECKS,
    ERASURE_CHECKS,
    TEST_PASSWORD,
    Faults,
    TwoUsers,
    VirtualClock,
    assert_sent,
    run_in_virtual_time,
    two_users,
)
from chatcore.testing.faults import READS, WRITES
from chatcore_memory import InsecureTestHasher, InsecureTestTokens, MemoryStore


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def store(faults: Faults) -> MemoryStore:
    return faults.store(MemoryStore())


@pytest.fixture
def accounts(store: MemoryStore) -> Accounts:
    return Accounts(store, InsecureTestHasher(), InsecureTestTokens())


@pytest.fixture
def messenger(faults: Faults, store: MemoryStore) -> Messenger:
    return Messenger(store, doorbell=faults.doorbell(LocalDoorbell()))


@pytest.fixture
async def users(accounts: Accounts) -> TwoUsers:
    return await two_users(accounts)


def test_every_method_of_the_ports_is_a_read_or_a_write() -> None:
    methods = {
        name
        for port in (AccountStore, ChatStore, People)
        for name in dir(port)
        if not name.startswith("_")
    }
    assert methods == READS | WRITES
    assert set() == READS & WRITES


@pytest.mark.parametrize(
    "check",
    [*ACCOUNT_STORE_CHECKS, *CHAT_STORE_CHECKS, *ERASURE_CHECKS],
    ids=lambda check: check.__name__,
)
async def test_without_a_fault_the_store_keeps_its_promises(check: Any) -> None:
    await check(Faults().store(MemoryStore()))


@pytest.mark.parametrize("check", DOORBELL_CHECKS, ids=lambda check: check.__name__)
async def test_without_a_fault_the_doorbell_keeps_its_promises(check: Any) -> None:
    doorbell = Faults().doorbell(LocalDoorbell())
    await check(doorbell, doorbell)


@pytest.mark.parametrize("happens", [True, False])
async def test_unknown_write_happened_or_did_not(
    faults: Faults, messenger: Messenger, users: TwoUsers, happens: bool
) -> None:
    ann, bob = users
    chat = await messenger.open_chat(ann, bob)
    faults.next_write_unknown(happens=happens)
    with pytest.raises(StoreUnavailable):
        await messenger.send_once(ann, chat, "hello", "key")
    assert len((await messenger.page(ann, chat)).messages) == happens
    sent = await messenger.send_once(ann, chat, "hello", "key")
    assert sent.replayed == happens
    await assert_sent(messenger, ann, bob, "hello")


async def test_unknown_write_can_be_one_of_a_given_method(
    faults: Faults, messenger: Messenger, users: TwoUsers
) -> None:
    faults.next_write_unknown(happens=False, method="append_message")
    chat = await messenger.open_chat(*users)
    with pytest.raises(StoreUnavailable):
        await messenger.send(users.ann, chat, "hello")
    await messenger.send(users.ann, chat, "hello")


def test_method_that_does_not_write_is_refused(faults: Faults) -> None:
    with pytest.raises(ValueError, match="no writing method: 'chats_of'; choose one of"):
        faults.next_write_unknown(happens=True, method="chats_of")


async def test_a_refused_write_does_not_use_up_the_fault(
    faults: Faults, messenger: Messenger, accounts: Accounts, users: TwoUsers
) -> None:
    chat = await messenger.open_chat(*users)
    eve = await accounts.register("Eve", TEST_PASSWORD)
    faults.next_write_unknown(happens=True)
    with pytest.raises(ChatNotFound):
        await messenger.send(eve, chat, "hello")
    with pytest.raises(StoreUnavailable):
        await messenger.send(users.ann, chat, "hello")


async def test_each_fault_meets_one_of_several_writes(
    faults: Faults, messenger: Messenger, users: TwoUsers
) -> None:
    chat = await messenger.open_chat(*users)
    for happens in (True, False):
        faults.next_write_unknown(happens=happens)
    sends = [messenger.send(users.ann, chat, f"hello {n}") for n in range(4)]
    outcomes = await asyncio.gather(*sends, return_exceptions=True)
    failed = [isinstance(it, StoreUnavailable) for it in outcomes]
    assert failed == [True, True, False, False]
    texts = [it.text for it in (await messenger.page(users.ann, chat)).messages]
    assert texts == ["hello 0", "hello 2", "hello 3"]


async def test_unavailable_store_reads_and_writes_nothing(
    faults: Faults, messenger: Messenger, users: TwoUsers
) -> None:
    chat = await messenger.open_chat(*users)
    with faults.store_unavailable():
        with pytest.raises(StoreUnavailable):
            await messenger.send(users.ann, chat, "hello")
        with pytest.raises(StoreUnavailable):
            await messenger.states(users.ann)
    [state] = await messenger.states(users.ann)
    assert isinstance(state, ChatState)
    assert state.last_message is None


async def test_wrapped_store_shows_what_the_store_has(store: MemoryStore, users: TwoUsers) -> None:
    assert set(store.contents.users.values()) == set(users)


@pytest.mark.parametrize(("lost", "seconds"), [(False, 0.0), (True, 5.0)])
def test_lost_ring_delays_an_event_until_the_next_poll(lost: bool, seconds: float) -> None:
    faults, store, clock = Faults(), MemoryStore(), VirtualClock()

    async def scenario() -> float:
        accounts = Accounts(store, InsecureTestHasher(), InsecureTestTokens())
        messenger = Messenger(store, doorbell=faults.doorbell(LocalDoorbell()))
        ann, bob = await two_users(accounts)
        chat = await messenger.open_chat(ann, bob)
        following = messenger.follow(bob)
        await following.start()
        event = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0)
        if lost:
            with faults.rings_lost():
                await messenger.send(ann, chat, "hello")
        else:
            await messenger.send(ann, chat, "hello")
        assert isinstance(await event, MessageSent)
        return clock.seconds()

    assert run_in_virtual_time(scenario(), clock) == pytest.approx(seconds)
