"""The promises of a ChatStore about pages of messages."""

from chatcore.model import MAX_INT64
from chatcore.ports import MAX_PAGE
from chatcore.testing.expect import check, expect_equal, simultaneously
from chatcore.testing.scene import (
    NOW_US,
    UNKNOWN_IDS,
    ChatStoreWithUsers,
    add_user,
    ann_and_bob,
    send,
)

CURSORS = (*range(9), MAX_INT64)
LIMITS = (1, 2, 3, 6, 7, 8, MAX_PAGE)
SEQS = [1, 2, 3, 4, 5, 6, 7]


@check
async def messages_after_are_the_next_ones(store: ChatStoreWithUsers) -> None:
    """messages_after returns the first `limit` messages numbered above `seq`, ascending."""
    chat, ann, _ = await ann_and_bob(store)
    for n in SEQS:
        await send(store, chat, ann, f"{n}")
    for cursor in CURSORS:
        for limit in LIMITS:
            page = await store.messages_after(chat.id, cursor, limit=limit)
            wanted = [seq for seq in SEQS if seq > cursor][:limit]
            expect_equal([it.seq for it in page], wanted, f"messages_after: {limit} after {cursor}")


@check
async def messages_before_are_the_last_ones(store: ChatStoreWithUsers) -> None:
    """messages_before returns the last `limit` messages numbered below `seq`, ascending; without
    `seq`, the last ones of the chat."""
    chat, ann, _ = await ann_and_bob(store)
    for n in SEQS:
        await send(store, chat, ann, f"{n}")
    for cursor in (*CURSORS, None):
        for limit in LIMITS:
            page = await store.messages_before(chat.id, cursor, limit=limit)
            wanted = [seq for seq in SEQS if cursor is None or seq < cursor][-limit:]
            expect_equal(
                [it.seq for it in page], wanted, f"messages_before: {limit} before {cursor}"
            )


@check
async def a_page_holds_up_to_500_messages(store: ChatStoreWithUsers) -> None:
    """messages_after and messages_before serve every `limit` up to MAX_PAGE, and never return
    more."""
    chat, ann, bob = await ann_and_bob(store)
    count = MAX_PAGE + 3
    await simultaneously(send(store, chat, (ann, bob)[n % 2], f"{n}") for n in range(count))
    after = await store.messages_after(chat.id, 1, limit=MAX_PAGE)
    expect_equal([it.seq for it in after], [*range(2, MAX_PAGE + 2)], "messages_after: a full page")
    before = await store.messages_before(chat.id, None, limit=MAX_PAGE)
    expect_equal([it.seq for it in before], [*range(4, count + 1)], "messages_before: a full page")


@check
async def every_chat_has_its_own_pages(store: ChatStoreWithUsers) -> None:
    """messages_after and messages_before return messages of one chat alone. For an empty or unknown
    chat they return none, and last_seq returns 0."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    other = await store.open_chat(eve.id, ann.id, NOW_US)
    silent = await store.open_chat(bob.id, eve.id, NOW_US)
    for place, texts in ((chat, ("a", "b")), (other, ("c", "d", "e")), (chat, ("f",))):
        for text in texts:
            await send(store, place, ann, text)
    texts_of = {chat.id: ["a", "b", "f"], other.id: ["c", "d", "e"], silent.id: []}
    texts_of |= {unknown: [] for unknown in UNKNOWN_IDS}
    for chat_id, wanted in texts_of.items():
        after = await store.messages_after(chat_id, 0, limit=MAX_PAGE)
        expect_equal([it.text for it in after], wanted, "messages_after reads one chat")
        before = await store.messages_before(chat_id, None, limit=MAX_PAGE)
        expect_equal([it.text for it in before], wanted, "messages_before reads one chat")
        expect_equal(await store.last_seq(chat_id), len(wanted), "last_seq counts one chat")


PAGE_CHECKS = (
    messages_after_are_the_next_ones,
    messages_before_are_the_last_ones,
    a_page_holds_up_to_500_messages,
    every_chat_has_its_own_pages,
)
