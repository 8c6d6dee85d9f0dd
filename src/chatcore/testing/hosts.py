"""For the tests of a host: users, and what was sent."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import NamedTuple

from chatcore.accounts import Accounts
from chatcore.errors import ChatNotFound
from chatcore.messenger import Messenger
from chatcore.model import Message, User

TEST_PASSWORD = "a password of the tests"  # noqa: S105
SHOWN = 10
"""How many messages a failed assertion lists."""


class TwoUsers(NamedTuple):
    """Two users without a chat. Their password is TEST_PASSWORD."""

    ann: User
    bob: User


async def two_users(where: Accounts | Messenger, ann: str = "Ann", bob: str = "Bob") -> TwoUsers:
    """Register two users, of these names: `ann, bob = await two_users(accounts)`. With a Messenger
    of a realm, add them as users of the host, with the handles 1 and 2."""
    if isinstance(where, Messenger):
        return TwoUsers(await where.user("1", name=ann), await where.user("2", name=bob))
    return TwoUsers(
        await where.register(ann, TEST_PASSWORD), await where.register(bob, TEST_PASSWORD)
    )


async def assert_sent(
    messenger: Messenger, sender: User, peer: User, text: str, *, times: int = 1
) -> Message:
    """Raise AssertionError unless `sender` sent exactly this text to `peer`, exactly so often.
    Return the last of these messages. The error lists the messages that were sent instead."""
    __tracebackhide__ = True  # pytest shows the line of the test.
    if times < 1:
        raise ValueError("times must be at least 1; use assert_not_sent")
    messages = await _messages(messenger, sender, peer)
    found = [it for it in messages or () if it.sender_id == sender.id and it.text == text]
    if len(found) != times:
        wanted = f"{sender.name} sent {text!r} to {peer.name} {_times(times)}"
        report = "\n".join(_report(messages, sender, peer, text))
        raise AssertionError(f"expected that {wanted}, found it {_times(len(found))}\n{report}")
    return found[-1]


async def assert_not_sent(
    messenger: Messenger, sender: User, peer: User, text: str | None = None
) -> None:
    """Raise AssertionError if `sender` sent this text to `peer`; without a text, if `sender` sent
    any message to `peer`."""
    __tracebackhide__ = True
    messages = await _messages(messenger, sender, peer)
    if any(it.sender_id == sender.id and text in (None, it.text) for it in messages or ()):
        unwanted = "nothing" if text is None else f"no {text!r}"
        report = "\n".join(_report(messages, sender, peer, None))
        raise AssertionError(
            f"expected that {sender.name} sent {unwanted} to {peer.name}\n{report}"
        )


async def _messages(messenger: Messenger, sender: User, peer: User) -> list[Message] | None:
    """Return the messages of the two users' chat; None if they have none."""
    try:
        chat = await messenger.chat_with(sender, peer.handle)
    except ChatNotFound:
        return None
    return [message async for piece in messenger.history(sender, chat) for message in piece]


def _times(count: int) -> str:
    return {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _report(
    messages: list[Message] | None, sender: User, peer: User, text: str | None
) -> Iterator[str]:
    if not messages:
        yield "they have no chat" if messages is None else "their chat has no message"
        return
    shown = messages[-SHOWN:]
    yield f"the last {len(shown)} of {len(messages)} messages of their chat:"
    for message in shown:
        name = sender.name if message.sender_id == sender.id else peer.name
        yield f"  {message.seq} {name}: {message.text!r:.100}"
    if text is None:
        return
    if any(it.sender_id == peer.id and it.text == text for it in messages):
        yield f"{peer.name} sent this text, not {sender.name}"
    similar = [it.text for it in shown if it.sender_id == sender.id and it.text != text]
    for close in get_close_matches(text, similar, n=1):
        yield f"similar: {close!r}"
