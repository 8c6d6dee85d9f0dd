"""The promises of a ChatStore about message numbers: 1, 2, 3, … without gaps."""

import asyncio

from chatcore.errors import ChatNotFound, KeyReused
from chatcore.model import NewMessage, Sent, User
from chatcore.ports import MAX_PAGE
from chatcore.testing.expect import (
    MOMENTS,
    check,
    expect,
    expect_equal,
    patience,
    refused,
    simultaneously,
    with_cancellations,
)
from chatcore.testing.scene import (
    NOW_US,
    UNKNOWN_IDS,
    ChatStoreWithUsers,
    add_user,
    ann_and_bob,
    read_all,
    send,
)


@check
async def simultaneous_messages_have_no_gaps(store: ChatStoreWithUsers) -> None:
    """Fifty simultaneous messages of both users get the numbers 1 to 50, each once."""
    chat, ann, bob = await ann_and_bob(store)
    outcomes = await simultaneously(
        send(store, chat, (ann, bob)[n % 2], f"message {n}") for n in range(50)
    )
    returned = [outcome.message for outcome in outcomes if isinstance(outcome, Sent)]
    expect_equal(
        sorted(message.seq for message in returned), [*range(1, 51)], "append_message: no gaps"
    )
    expect_equal(
        [it.text for it in returned],
        [f"message {n}" for n in range(50)],
        "append_message: own texts",
    )
    stored = await read_all(store, chat)
    expect_equal(stored, sorted(returned, key=lambda it: it.seq), "messages_after: as returned")
    expect_equal(await store.last_seq(chat.id), 50, "last_seq is the newest number")


@check
async def every_chat_has_its_own_numbers(store: ChatStoreWithUsers) -> None:
    """Each chat has its own numbers, independent of messages in other chats."""
    hub = await add_user(store, "hub")
    peers = [await add_user(store, name) for name in ("ann", "bob", "eve")]
    chats = [await store.open_chat(hub.id, peer.id, NOW_US) for peer in peers]
    for seq in (1, 2, 3):
        for chat in chats:
            sent = await send(store, chat, hub, "hello")
            expect_equal(sent.message.seq, seq, "append_message numbers each chat separately")
    await simultaneously(send(store, chat, hub, "hello") for chat in chats * 5)
    for chat in chats:
        seqs = [message.seq for message in await read_all(store, chat)]
        expect_equal(seqs, [*range(1, 9)], "append_message numbers each chat separately")


@check
async def a_refused_message_takes_no_number(store: ChatStoreWithUsers) -> None:
    """append_message raises ChatNotFound if there is no such chat or the sender is not in it, and
    KeyReused for a known key with another text; a refusal leaves no gap and no trace."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    await send(store, chat, bob, "hello", "key")
    for seq in range(2, 6):
        before = list(await store.chats_of(ann.id, before=None, limit=MAX_PAGE))
        with refused(ChatNotFound, "append_message by a user outside the chat"):
            await send(store, chat, eve, "hello")
        with refused(KeyReused, "append_message with a known key and another text"):
            await send(store, chat, bob, "other", "key")
        for unknown in UNKNOWN_IDS:
            with refused(ChatNotFound, "append_message by an unknown user"):
                await store.append_message(NewMessage(chat.id, unknown, "hello", NOW_US))
            with refused(ChatNotFound, "append_message to an unknown chat"):
                await store.append_message(NewMessage(unknown, ann.id, "hello", NOW_US))
        after = list(await store.chats_of(ann.id, before=None, limit=MAX_PAGE))
        expect_equal(after, before, "chats_of: a refused append_message changes nothing")
        async with patience("append_message after a refused one"):
            sent = await send(store, chat, ann, "hello")
        expect_equal(sent.message.seq, seq, "append_message after a refused one")


@check
async def later_messages_have_larger_numbers(store: ChatStoreWithUsers) -> None:
    """A message sent after another was acknowledged gets the larger number, for any senders and
    beside simultaneous messages."""
    chat, ann, bob = await ann_and_bob(store)

    async def talk(sender: User) -> list[int]:
        return [(await send(store, chat, sender, f"{n}")).message.seq for n in range(10)]

    for seqs in await asyncio.gather(*map(talk, (ann, bob, ann, bob))):
        expect_equal(seqs, sorted(seqs), "append_message: each caller's numbers ascend")
    for seq, sender in enumerate((ann, bob, ann, ann, bob, bob), 41):
        sent = await send(store, chat, sender, "hello")
        expect_equal(sent.message.seq, seq, "append_message gives the next number")


@check
async def a_follower_misses_nothing(store: ChatStoreWithUsers) -> None:
    """A reader that resumes after the last number gets every message once and in order, beside
    simultaneous sends: no number appears, in messages_after or last_seq, before all smaller
    ones."""
    chat, ann, bob = await ann_and_bob(store)

    async def talk(sender: User) -> None:
        for n in range(25):
            await send(store, chat, sender, f"{n}")

    talks = [asyncio.create_task(talk(sender)) for sender in (ann, bob, ann, bob)]
    followed: list[int] = []
    ahead = finished = False
    while len(followed) < 100 and not finished:
        finished = all(task.done() for task in talks)
        last = await store.last_seq(chat.id)
        page = await store.messages_after(chat.id, followed[-1] if followed else 0, limit=MAX_PAGE)
        followed += [message.seq for message in page]
        ahead = ahead or last > (followed[-1] if followed else 0)
        await asyncio.sleep(0)
    await asyncio.gather(*talks)
    expect_equal(followed, [*range(1, 101)], "messages_after, page by page: every number in order")
    expect(not ahead, "last_seq gives no number that messages_after does not")


@check
async def cancelled_messages_are_whole(store: ChatStoreWithUsers) -> None:
    """A cancelled append_message stores the message once or not at all. It leaves no gap,
    cancels no other message and locks nothing."""
    chat, ann, _ = await ann_and_bob(store)
    returned = []
    async with patience("append_message after a cancelled one"):
        for turn, moment in enumerate(MOMENTS):
            calls = [send(store, chat, ann, f"{turn}.{n}") for n in range(16)]
            sent = await with_cancellations(calls, moment)
            returned += [it.message for it in sent if it is not None]
            returned.append((await send(store, chat, ann, f"{turn}")).message)
        stored = await read_all(store, chat)
    expect_equal([it.seq for it in stored], [*range(1, len(stored) + 1)], "messages_after: no gaps")
    expect(set(returned) <= set(stored), "an append_message that returned is stored")
    expect_equal(len({it.text for it in stored}), len(stored), "messages_after: nothing twice")


NUMBERING_CHECKS = (
    simultaneous_messages_have_no_gaps,
    every_chat_has_its_own_numbers,
    a_refused_message_takes_no_number,
    later_messages_have_larger_numbers,
    a_follower_misses_nothing,
    cancelled_messages_are_whole,
)
