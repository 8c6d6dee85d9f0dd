"""What a ChatStore promises of idempotency keys."""

from chatcore.errors import KeyReused
from chatcore.model import Sent
from chatcore.ports import MAX_PAGE
from chatcore.testing.expect import accepted, expect, expect_equal, refused, simultaneously
from chatcore.testing.scene import (
    NOW_US,
    ChatStoreWithUsers,
    add_user,
    ann_and_bob,
    read_all,
    send,
)

LATER = 200
"""Messages after which a key must still be known."""

VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))
DISTINCT_KEYS = (
    *("key", "KEY", "Key", "ke", "key1", "k_y", "k%", "%", "_", "*"),
    *("'", '"', "\\", "\\\\", "0", "00", "null", ":k", "?", VISIBLE_ASCII),
    *("x" * 127 + "1", "x" * 127 + "2", "x" * 127),
)


async def a_replay_gives_the_first_message(store: ChatStoreWithUsers) -> None:
    """A message whose key is known is answered with the first one, its number and its time,
    at any later time."""
    chat, ann, bob = await ann_and_bob(store)
    first = await send(store, chat, ann, "hello", "key")
    expect(not first.replayed, "the first message of a key is no replay")
    replay = Sent(first.message, replayed=True)
    for round_ in range(3):
        again = await send(store, chat, ann, "hello", "key", sent_us=NOW_US + 1 + round_)
        expect_equal(again, replay, "a replay gives the first message")
        await simultaneously(
            send(store, chat, (ann, bob)[n % 2], "x", f"{round_}.{n}") for n in range(LATER // 2)
        )
    expect_equal(await store.last_seq(chat.id), 1 + 3 * (LATER // 2), "a replay stores nothing")


async def a_replay_changes_nothing(store: ChatStoreWithUsers) -> None:
    """A replay leaves the list of chats as it is: the chat was not active."""
    chat, ann, _ = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    await send(store, chat, ann, "hello", "key")
    await store.open_chat(ann.id, eve.id, NOW_US)
    before = await store.chats_of(ann.id, before=None, limit=MAX_PAGE)
    await send(store, chat, ann, "hello", "key")
    after = await store.chats_of(ann.id, before=None, limit=MAX_PAGE)
    expect_equal(list(after), list(before), "a replay changes nothing")


async def a_known_key_with_another_text_is_refused(store: ChatStoreWithUsers) -> None:
    """A known key with another text raises KeyReused, however little the texts differ, and the
    key goes on standing for its first text."""
    chat, ann, _ = await ann_and_bob(store)
    first = await send(store, chat, ann, "caf\u00e9", "key")
    for text in ("cafe\u0301", "CAF\u00c9", "caf\u00e9 ", "cafe", "other"):
        with refused(KeyReused, "a known key with another text"):
            await send(store, chat, ann, text, "key")
    again = await send(store, chat, ann, "caf\u00e9", "key")
    expect_equal(again, Sent(first.message, replayed=True), "the key stands for its first text")


async def a_key_is_of_its_sender_and_chat(store: ChatStoreWithUsers) -> None:
    """The same key of the other user, or in another chat, is another key."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    other = await store.open_chat(ann.id, eve.id, NOW_US)
    for place, sender, text in (
        *((chat, ann, "one"), (chat, bob, "one"), (other, ann, "one")),
        *((other, eve, "two"),),
    ):
        with accepted("a key that is new to its sender and chat"):
            sent = await send(store, place, sender, text, "key")
        expect(not sent.replayed, f"the key is new to {sender.name} in chat {place.id}")


async def keys_are_compared_exactly(store: ChatStoreWithUsers) -> None:
    """Keys that differ in any character, or its case, are different keys."""
    chat, ann, _ = await ann_and_bob(store)
    for seq, key in enumerate(DISTINCT_KEYS, 1):
        sent = await send(store, chat, ann, "hello", key)
        expect(not sent.replayed, f"{key!r} is a key of its own")
        again = await send(store, chat, ann, "hello", key)
        expect_equal((again.message.seq, again.replayed), (seq, True), f"{key!r} is known")


async def of_simultaneous_messages_with_a_key_one_is_stored(store: ChatStoreWithUsers) -> None:
    """Of simultaneous messages with one key exactly one is stored; the others are its replays,
    or, with another text, refused."""
    chat, ann, _ = await ann_and_bob(store)
    outcomes = await simultaneously(send(store, chat, ann, f"{n % 2}", "key") for n in range(32))
    fresh = [it for it in outcomes if isinstance(it, Sent) and not it.replayed]
    expect_equal(len(fresh), 1, "one message is stored")
    [first] = fresh
    expect_equal(await read_all(store, chat), [first.message], "one message is stored")
    replays = [it for it in outcomes if it == Sent(first.message, replayed=True)]
    expect_equal(len(replays), 15, "those with the same text are its replays")
    reuses = [it for it in outcomes if isinstance(it, KeyReused)]
    expect_equal(len(reuses), 16, "those with another text are refused")


async def messages_without_key_are_no_replays(store: ChatStoreWithUsers) -> None:
    """Without a key every message is stored, also one whose text was sent before."""
    chat, ann, _ = await ann_and_bob(store)
    for seq in (1, 2, 3):
        sent = await send(store, chat, ann, "hello")
        expect_equal((sent.message.seq, sent.replayed), (seq, False), "the message is stored")


KEY_CHECKS = (
    a_replay_gives_the_first_message,
    a_replay_changes_nothing,
    a_known_key_with_another_text_is_refused,
    a_key_is_of_its_sender_and_chat,
    keys_are_compared_exactly,
    of_simultaneous_messages_with_a_key_one_is_stored,
    messages_without_key_are_no_replays,
)
