"""The promises of a ChatStore about idempotency keys."""

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
"""How many messages later a key must still be known."""

VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))
DISTINCT_KEYS = (
    *("key", "KEY", "Key", "ke", "key1", "k_y", "k%", "%", "_", "*"),
    *("'", '"', "\\", "\\\\", "0", "00", "null", ":k", "?", VISIBLE_ASCII),
    *("x" * 127 + "1", "x" * 127 + "2", "x" * 127),
)


async def a_replay_gives_the_first_message(store: ChatStoreWithUsers) -> None:
    """append_message with a known key returns the first message, with its number and time, however
    much later."""
    chat, ann, bob = await ann_and_bob(store)
    first = await send(store, chat, ann, "hello", "key")
    expect(not first.replayed, "append_message with a new key is no replay")
    replay = Sent(first.message, replayed=True)
    for round_ in range(3):
        again = await send(store, chat, ann, "hello", "key", sent_us=NOW_US + 1 + round_)
        expect_equal(again, replay, "append_message with a known key returns the first message")
        await simultaneously(
            send(store, chat, (ann, bob)[n % 2], "x", f"{round_}.{n}") for n in range(LATER // 2)
        )
    expect_equal(
        await store.last_seq(chat.id), 1 + 3 * (LATER // 2), "last_seq: a replay stores nothing"
    )


async def a_replay_changes_nothing(store: ChatStoreWithUsers) -> None:
    """A replay changes nothing in the list of chats: it is no activity."""
    chat, ann, _ = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    await send(store, chat, ann, "hello", "key")
    await store.open_chat(ann.id, eve.id, NOW_US)
    before = await store.chats_of(ann.id, before=None, limit=MAX_PAGE)
    await send(store, chat, ann, "hello", "key")
    after = await store.chats_of(ann.id, before=None, limit=MAX_PAGE)
    expect_equal(list(after), list(before), "chats_of: a replay is no activity")


async def a_known_key_with_another_text_is_refused(store: ChatStoreWithUsers) -> None:
    """append_message with a known key and another text raises KeyReused, even for the smallest
    difference, and the key keeps its first text."""
    chat, ann, _ = await ann_and_bob(store)
    first = await send(store, chat, ann, "caf\u00e9", "key")
    for text in ("cafe\u0301", "CAF\u00c9", "caf\u00e9 ", "cafe", "other"):
        with refused(KeyReused, f"append_message with a known key and the text {text!a}"):
            await send(store, chat, ann, text, "key")
    again = await send(store, chat, ann, "caf\u00e9", "key")
    expect_equal(
        again, Sent(first.message, replayed=True), "a refused append_message keeps the first text"
    )


async def a_key_is_scoped_to_its_sender_and_chat(store: ChatStoreWithUsers) -> None:
    """A key is scoped to its sender and chat."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    other = await store.open_chat(ann.id, eve.id, NOW_US)
    for place, sender, text in (
        *((chat, ann, "one"), (chat, bob, "one"), (other, ann, "one")),
        *((other, eve, "two"),),
    ):
        with accepted("append_message with a key new to its sender and chat"):
            sent = await send(store, place, sender, text, "key")
        expect(not sent.replayed, f"append_message: the key is new to {sender.name} in {place.id}")


async def keys_are_compared_exactly(store: ChatStoreWithUsers) -> None:
    """Keys that differ in any character or its case are different keys."""
    chat, ann, _ = await ann_and_bob(store)
    for seq, key in enumerate(DISTINCT_KEYS, 1):
        sent = await send(store, chat, ann, "hello", key)
        expect(not sent.replayed, f"append_message: {key!r} is a new key")
        again = await send(store, chat, ann, "hello", key)
        expect_equal(
            (again.message.seq, again.replayed), (seq, True), f"append_message: {key!r} is known"
        )


async def of_simultaneous_messages_with_a_key_one_is_stored(store: ChatStoreWithUsers) -> None:
    """Of simultaneous append_message calls with one key exactly one stores; the others return its
    replay, or raise KeyReused for another text."""
    chat, ann, _ = await ann_and_bob(store)
    outcomes = await simultaneously(send(store, chat, ann, f"{n % 2}", "key") for n in range(32))
    fresh = [it for it in outcomes if isinstance(it, Sent) and not it.replayed]
    expect_equal(len(fresh), 1, "simultaneous append_message with one key: not replays")
    [first] = fresh
    expect_equal(
        await read_all(store, chat), [first.message], "simultaneous append_message store one"
    )
    replays = [it for it in outcomes if it == Sent(first.message, replayed=True)]
    expect_equal(len(replays), 15, "simultaneous append_message with one key: replays")
    reuses = [it for it in outcomes if isinstance(it, KeyReused)]
    expect_equal(len(reuses), 16, "simultaneous append_message with one key: KeyReused")


async def messages_without_key_are_no_replays(store: ChatStoreWithUsers) -> None:
    """append_message without a key stores every message, also a repeated text."""
    chat, ann, _ = await ann_and_bob(store)
    for seq in (1, 2, 3):
        sent = await send(store, chat, ann, "hello")
        expect_equal(
            (sent.message.seq, sent.replayed), (seq, False), "append_message without a key stores"
        )


KEY_CHECKS = (
    a_replay_gives_the_first_message,
    a_replay_changes_nothing,
    a_known_key_with_another_text_is_refused,
    a_key_is_scoped_to_its_sender_and_chat,
    keys_are_compared_exactly,
    of_simultaneous_messages_with_a_key_one_is_stored,
    messages_without_key_are_no_replays,
)
