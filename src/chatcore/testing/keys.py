"""The promises of a ChatStore about idempotency keys."""

from chatcore.errors import KeyReused
from chatcore.model import Chat, HostKey, NewMessage, Sent, User
from chatcore.ports import MAX_PAGE
from chatcore.testing.expect import accepted, check, expect, expect_equal, refused, simultaneously
from chatcore.testing.scene import (
    NOW_US,
    UNKNOWN_IDS,
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


@check
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


@check
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


@check
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


@check
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


@check
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


@check
async def a_host_key_is_apart_from_every_other_key(store: ChatStoreWithUsers) -> None:
    """A HostKey is another key than a client's, or one of another purpose, with the same name."""
    chat, ann, _ = await ann_and_bob(store)
    keys = ("k", HostKey("outbox", "k"), HostKey("import", "k"), HostKey("host", "k"), "outbox")
    for seq, key in enumerate(keys, 1):
        sent = await send(store, chat, ann, "hello", key)
        expect_equal(
            (sent.message.seq, sent.replayed),
            (seq, False),
            f"append_message: {key!r} is a new key",
        )
    for seq, key in enumerate(keys, 1):
        again = await send(store, chat, ann, "hello", key)
        expect_equal(
            (again.message.seq, again.replayed), (seq, True), f"append_message: {key!r} is known"
        )


@check
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


def rewritten(chat: Chat, sender: User, submitted: str, text: str) -> NewMessage:
    """The message of `submitted`, of which a policy made `text`."""
    return NewMessage(chat.id, sender.id, text, NOW_US, "key", submitted)


@check
async def replays_are_compared_as_submitted(store: ChatStoreWithUsers) -> None:
    """append_message compares a replay with the text that was submitted, not with the text that a
    policy made of it, which is what it stores."""
    chat, ann, _ = await ann_and_bob(store)
    sent = await store.append_message(rewritten(chat, ann, "a bad word", "a *** word"))
    expect_equal(
        (sent.message.text, sent.replayed),
        ("a *** word", False),
        "append_message stores the text of a rewritten message",
    )
    replay = Sent(sent.message, replayed=True)
    for again in (
        rewritten(chat, ann, "a bad word", "a *** word"),
        # The policy has changed its mind, or there is none any more.
        rewritten(chat, ann, "a bad word", "another text"),
        NewMessage(chat.id, ann.id, "a bad word", NOW_US, "key"),
    ):
        with accepted(f"append_message of the same request, rewritten to {again.text!a},"):
            found = await store.append_message(again)
        expect_equal(found, replay, "append_message of the same request returns its replay")
    for other in (
        rewritten(chat, ann, "a sad word", "a *** word"),
        NewMessage(chat.id, ann.id, "a *** word", NOW_US, "key"),
    ):
        with refused(KeyReused, "append_message of another request with the same stored text"):
            await store.append_message(other)


@check
async def a_replay_is_found_without_sending(store: ChatStoreWithUsers) -> None:
    """replay_of returns what append_message would return for a known key, and None for a key that
    is new to its sender and chat. It stores nothing."""
    chat, ann, bob = await ann_and_bob(store)
    for sender, text, key in ((ann, "hello", "key"), (ann, "hello", None), (bob, "hello", "key")):
        new = NewMessage(chat.id, sender.id, text, NOW_US, key)
        expect_equal(await store.replay_of(new), None, "replay_of a new key, or of none,")
        expect_equal(await store.replay_of(new), None, "replay_of stores nothing, so it")
        sent = await send(store, chat, sender, text, key)
        expect(not sent.replayed, "replay_of stores nothing, so append_message")
        wanted = Sent(sent.message, replayed=True) if key else None
        expect_equal(await store.replay_of(new), wanted, "replay_of after append_message")
    for sender, chat_id, key in (
        *((ann, chat.id, "KEY"), (ann, chat.id + 1, "key")),
        *((User(unknown, "nobody", ""), chat.id, "key") for unknown in UNKNOWN_IDS),
        *((ann, unknown, "key") for unknown in UNKNOWN_IDS),
    ):
        unknown = NewMessage(chat_id, sender.id, "hello", NOW_US, key)
        expect_equal(await store.replay_of(unknown), None, "replay_of an unknown key")
    with refused(KeyReused, "replay_of a known key with another text"):
        await store.replay_of(NewMessage(chat.id, ann.id, "other", NOW_US, "key"))
    expect_equal(await store.last_seq(chat.id), 3, "last_seq: replay_of stores nothing")


@check
async def a_replay_is_found_as_submitted(store: ChatStoreWithUsers) -> None:
    """replay_of compares the texts that were submitted, as append_message does, also while one of
    the two blocks the other."""
    chat, ann, bob = await ann_and_bob(store)
    sent = await store.append_message(rewritten(chat, ann, "a bad word", "a *** word"))
    await store.block(bob.id, ann.id, NOW_US)
    with accepted("replay_of the same request"):
        found = await store.replay_of(NewMessage(chat.id, ann.id, "a bad word", NOW_US, "key"))
    expect_equal(found, Sent(sent.message, replayed=True), "replay_of the same request")
    with refused(KeyReused, "replay_of another request with the same stored text"):
        await store.replay_of(NewMessage(chat.id, ann.id, "a *** word", NOW_US, "key"))


@check
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
    a_host_key_is_apart_from_every_other_key,
    of_simultaneous_messages_with_a_key_one_is_stored,
    replays_are_compared_as_submitted,
    a_replay_is_found_without_sending,
    a_replay_is_found_as_submitted,
    messages_without_key_are_no_replays,
)
