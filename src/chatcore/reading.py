"""Pages and lists, made of the bounded reads of a store."""

from chatcore.model import ChatSummary
from chatcore.ports import MAX_PAGE, ChatStore
from chatcore.results import Page


async def all_chats(store: ChatStore, user_id: int) -> list[ChatSummary]:
    """Return every chat of the user, each once, the most recently active first."""
    found: dict[int, ChatSummary] = {}
    covered = 0
    while True:
        page = await store.chats_of(user_id, before=None, limit=MAX_PAGE)
        if len(page) < MAX_PAGE and not found:
            return list(page)
        found |= {summary.chat.id: summary for summary in page}
        if len(page) < MAX_PAGE or page[-1].activity <= covered:
            return sorted(found.values(), key=lambda summary: summary.activity, reverse=True)
        top = page[0].activity
        while len(page) == MAX_PAGE and (last := page[-1].activity) > covered:
            page = await store.chats_of(user_id, before=last, limit=MAX_PAGE)
            found |= {summary.chat.id: summary for summary in page}
        # A chat that became active between two pages is on neither: it is above them all now.
        # So repeat until a round needs one page, which is one atomic read.
        covered = top


async def page_of(
    store: ChatStore,
    chat_id: int,
    before: int | None,
    after: int | None,
    around: int | None,
    limit: int,
) -> Page:
    """Return the page that `Messenger.page` promises, for arguments within its ranges."""
    if around is not None:
        end = await store.last_seq(chat_id) + 1
        after = max(min(around, end) - limit // 2 - 1, 0)
    # Numbers have no gaps: the page alone mostly shows whether more messages precede or follow.
    if after is None:
        messages = await store.messages_before(chat_id, before, limit=limit)
        older = bool(messages) and messages[0].seq > 1
        newer = before is not None and max(before, 1) <= await store.last_seq(chat_id)
        return Page(messages, older, newer)
    messages = await store.messages_after(chat_id, after, limit=limit)
    if not messages:
        older = after > 0 and await store.last_seq(chat_id) > 0
        return Page(messages, older, newer=False)
    full = len(messages) == limit
    newer = full and messages[-1].seq < await store.last_seq(chat_id)
    return Page(messages, older=messages[0].seq > 1, newer=newer)
