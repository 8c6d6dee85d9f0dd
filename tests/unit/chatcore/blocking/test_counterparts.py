"""The blocking classes have the methods, signatures and types of the asynchronous ones."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, assert_type

import pytest

import chatcore
from chatcore import Actor, Chat, Event, Message, Session, User, blocking
from chatcore.blocking import Accounts, Bridge, Following, Messenger
from chatcore_memory import InsecureTestHasher, InsecureTestTokens, MemoryStore

PAIRS: list[tuple[type, type]] = [
    (chatcore.Accounts, blocking.Accounts),
    (chatcore.Devices, blocking.Devices),
    (chatcore.Messenger, blocking.Messenger),
    (chatcore.Following, blocking.Following),
]


def methods(of: type) -> dict[str, Any]:
    return {
        name: function
        for name, function in vars(of).items()
        if not name.startswith("_") and inspect.isroutine(function)
    }


# A synchronous program has no asynchronous connection: it uses an outbox.
ASYNCHRONOUS = {"within"}


def missing(core: type, counterpart: type) -> list[str]:
    return sorted(methods(core).keys() - methods(counterpart).keys() - ASYNCHRONOUS)


@pytest.mark.parametrize(("core", "counterpart"), PAIRS)
def test_every_method_has_a_blocking_counterpart(core: type, counterpart: type) -> None:
    assert missing(core, counterpart) == []


def test_a_method_without_a_counterpart_is_found() -> None:
    class Grown(chatcore.Messenger):
        async def pin(self, chat: Chat) -> None: ...

    assert missing(Grown, blocking.Messenger) == ["pin"]


@pytest.mark.parametrize(("core", "counterpart"), PAIRS)
def test_signatures_and_docstrings_are_those_of_the_core(core: type, counterpart: type) -> None:
    for name, function in methods(core).items():
        if name in ASYNCHRONOUS:
            continue
        mirrored = methods(counterpart)[name]
        assert inspect.signature(mirrored) == inspect.signature(function), name
        assert mirrored.__doc__ == function.__doc__.replace("async for", "for"), name
        assert not inspect.iscoroutinefunction(mirrored), name


def test_a_subclass_of_the_core_keeps_its_own_methods(bridge: Bridge) -> None:
    class Loud(chatcore.Messenger):
        async def send(
            self, sender: User, chat: Chat, text: str, *, actor: Actor = Actor.USER
        ) -> Message:
            return await super().send(sender, chat, text.upper(), actor=actor)

    store = MemoryStore()
    messenger = Messenger(bridge, Loud(store))
    accounts = bridge.accounts(store, InsecureTestHasher(), InsecureTestTokens(b"secret"))
    ann, bob = (accounts.register(name, "correct horse") for name in ("ann", "bob"))
    assert messenger.send(ann, messenger.open_chat(ann, bob), "hello").text == "HELLO"


def test_types_are_those_of_the_core(bridge: Bridge) -> None:
    """The type checker reads this test, too: an unused `type: ignore` is an error."""
    store = MemoryStore()
    accounts = assert_type(
        bridge.accounts(store, InsecureTestHasher(), InsecureTestTokens(b"secret")), Accounts
    )
    messenger = assert_type(bridge.messenger(store, poll_seconds=1.5), Messenger)
    ann = assert_type(accounts.register("ann", "correct horse", address=None), User)
    bob = accounts.register("bob", "staple of batteries")
    token = assert_type(accounts.log_in("ann", "correct horse"), str)
    assert assert_type(accounts.authenticate(token), Session).user == ann
    chat = assert_type(messenger.open_chat(ann, bob), Chat)
    assert assert_type(messenger.send(ann, chat, "hello"), Message).seq == 1
    pieces = assert_type(messenger.history(bob, chat), Iterator[Sequence[Message]])
    assert [message.text for piece in pieces for message in piece] == ["hello"]
    following = assert_type(messenger.follow(bob, after=messenger.sync(bob).cursor), Following)
    assert assert_type(following.batch(0), Sequence[Event]) == ()
    assert_type(messenger.mark_read(bob, chat, 1), int)
    messenger.forget_names()
    with pytest.raises(TypeError):
        messenger.send(ann, chat)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        messenger.page(ann, chat, newest=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        bridge.messenger(store, poll=1)  # type: ignore[call-arg]


def test_devices_sign_in_and_out_without_await(bridge: Bridge) -> None:
    accounts = bridge.accounts(MemoryStore(), InsecureTestHasher(), InsecureTestTokens(b"secret"))
    ann = accounts.register("ann", "correct horse")
    tokens = assert_type(
        accounts.devices.sign_in("ann", "correct horse", "phone"), chatcore.DeviceTokens
    )
    assert accounts.authenticate(tokens.access_token).user == ann
    renewed = accounts.devices.renew(tokens.refresh_token)
    [session] = accounts.devices.sessions(ann)
    assert session.id == renewed.session_id
    accounts.devices.end(ann, session.id)
    assert accounts.devices.sessions(ann) == []
