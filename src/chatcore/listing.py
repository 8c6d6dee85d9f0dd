"""The list of all chats of a user, assembled from the bounded pages of a store."""

from chatcore.model import ChatSummary
from chatcore.ports import MAX_PAGE, ChatStore


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
