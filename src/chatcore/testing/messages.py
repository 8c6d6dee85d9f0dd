"""The promises of a ChatStore about messages: the store changes nothing in them."""

from datetime import UTC, datetime

from chatcore.errors import ChatNotFound, KeyReused
from chatcore.model import Chat, Message, Sent
from chatcore.ports import MAX_PAGE
from chatcore.testing.expect import check, expect, expect_equal, simultaneously
from chatcore.testing.scene import (
    NOW_US,
    UNKNOWN_IDS,
    ChatStoreWithUsers,
    add_user,
    ann_and_bob,
    read_all,
    send,
)

TEXTS = (
    "x",
    " both ends ",
    "lines\n\r\n\rand\ttabs\n",
    "\ufeffe\u0301 is not \u00e9, \u212b not \u00c5, \ufb01 not fi",
    "👩\u200d👩\u200d👧\u200d👦 🏴\U000e0067\U000e0062\U000e007f ❤\ufe0f",
    "\u202eright to left\u202c \u05d0\u200f\u0627\u200e",
    "\x01\x1f\x7f\x85\u00a0\u2028\u2029\u200b\ufffd\uffff\U0010ffff",
    '\'; DROP TABLE messages; -- "" \\ \\n \\u0041 %s %(x)s :name ? {} $1',
    '{"a": [null, "\\ud83d"]}',
    "0",
    "1e3",
    "null",
    "x" * 4096,
    "𝄞" * 4096,
    "\ufdfa" * 4096,
)

TIMES_US = (
    NOW_US,
    NOW_US + 1,
    NOW_US - 1_000_000,  # Clocks step back.
    NOW_US,
    0,
    1,
    999_999,
    253_402_300_799_999_999,  # The last microsecond of the year 9999, and of datetime.
)


@check
async def messages_are_read_as_they_were_sent(store: ChatStoreWithUsers) -> None:
    """append_message returns the stored message, not replayed; messages_after and messages_before
    return the same chat, number, sender, text and time."""
    chat, ann, bob = await ann_and_bob(store)
    wanted = []
    for seq, (sender, text) in enumerate(((ann, "one"), (bob, "two"), (bob, "two")), 1):
        sent = await send(store, chat, sender, text, sent_us=NOW_US + seq)
        wanted.append(Message(chat.id, seq, sender.id, text, NOW_US + seq))
        expect_equal(sent, Sent(wanted[-1], replayed=False), "append_message returns the message")
        after = list(await store.messages_after(chat.id, 0, limit=MAX_PAGE))
        expect_equal(after, wanted, "messages_after returns the sent messages")
        before = list(await store.messages_before(chat.id, None, limit=MAX_PAGE))
        expect_equal(before, wanted, "messages_before returns the sent messages")
        expect_equal(await store.last_seq(chat.id), seq, "last_seq is the newest number")


@check
async def texts_are_kept_exactly(store: ChatStoreWithUsers) -> None:
    """A text is kept code point for code point: not stripped, normalised, unescaped or cut."""
    chat, ann, _ = await ann_and_bob(store)
    for text in TEXTS:
        sent = await send(store, chat, ann, text)
        expect_equal(sent.message.text, text, "append_message returns the text exactly")
    stored = [message.text for message in await read_all(store, chat)]
    for found, text in zip(stored, TEXTS, strict=True):
        expect_equal(found, text, "messages_after returns the text exactly")


@check
async def times_are_kept_to_the_microsecond(store: ChatStoreWithUsers) -> None:
    """A time is kept to the microsecond, in UTC, and does not affect the order."""
    chat, ann, _ = await ann_and_bob(store)
    for sent_us in TIMES_US:
        sent = await send(store, chat, ann, "hello", sent_us=sent_us)
        expect_equal(sent.message.sent_us, sent_us, "append_message returns the time exactly")
    messages = await read_all(store, chat)
    expect_equal(
        [it.sent_us for it in messages], list(TIMES_US), "messages_after returns the time exactly"
    )
    expect(all(type(it.sent_us) is int for it in messages), "messages_after: sent_us is an int")
    moment = datetime(2026, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)
    expect_equal(messages[0].sent_at, moment, "messages_after: sent_at is in UTC")


@check
async def a_refused_message_disturbs_no_other(store: ChatStoreWithUsers) -> None:
    """Of simultaneous append_message calls, a refused or replayed one does not affect the others,
    which are stored."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    nowhere = Chat(UNKNOWN_IDS[0], chat.users)
    first = await send(store, chat, ann, "first", "known")
    outcomes = await simultaneously(
        call
        for n in range(8)
        for call in (
            send(store, chat, bob, f"fresh {n}"),
            send(store, chat, ann, "other", "known"),
            send(store, chat, eve, "stranger"),
            send(store, chat, ann, "first", "known"),
            send(store, nowhere, ann, "nowhere"),
            send(store, chat, ann, f"keyed {n}", f"key-{n}"),
        )
    )
    fresh, reused, strangers, replays, lost, keyed = (outcomes[n::6] for n in range(6))
    expect(
        all(isinstance(it, KeyReused) for it in reused), "append_message beside others: KeyReused"
    )
    expect(
        all(isinstance(it, ChatNotFound) for it in strangers),
        "append_message beside others: sender not in the chat",
    )
    expect(
        all(isinstance(it, ChatNotFound) for it in lost),
        "append_message beside others: unknown chat",
    )
    replay = Sent(first.message, replayed=True)
    expect(all(it == replay for it in replays), "append_message beside others: replays")
    expect(
        all(isinstance(it, Sent) for it in fresh + keyed),
        "append_message beside refused ones succeeds",
    )
    stored = await read_all(store, chat)
    expect_equal(
        [it.seq for it in stored], [*range(1, 18)], "messages_after: refusals leave no gap"
    )
    texts = {"first"} | {f"{kind} {n}" for n in range(8) for kind in ("fresh", "keyed")}
    expect_equal({it.text for it in stored}, texts, "messages_after: each accepted message once")


MESSAGE_CHECKS = (
    messages_are_read_as_they_were_sent,
    texts_are_kept_exactly,
    times_are_kept_to_the_microsecond,
    a_refused_message_disturbs_no_other,
)
