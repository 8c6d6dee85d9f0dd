"""Pages of a chat, and the whole of it, assembled from the bounded pages of a store."""

from collections.abc import AsyncIterator, Sequence

from chatcore.errors import InvalidPage
from chatcore.model import MAX_INT64, Message
from chatcore.ports import MAX_PAGE, Conversations
from chatcore.results import Page


async def read_page(
    store: Conversations,
    chat_id: int,
    before: int | None,
    after: int | None,
    around: int | None,
    limit: int,
) -> Page:
    """Read the page that `Messenger.page` describes. Raises InvalidPage."""
    bounds = [number for number in (before, after, around) if number is not None]
    if len(bounds) > 1 or not 1 <= limit <= MAX_PAGE:
        raise InvalidPage
    if any(not 0 <= number <= MAX_INT64 for number in bounds):
        raise InvalidPage
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


async def read_all(store: Conversations, chat_id: int) -> AsyncIterator[Sequence[Message]]:
    """Yield the pieces that `Messenger.history` describes."""
    piece = await store.messages_after(chat_id, 0, limit=MAX_PAGE)
    if not piece:
        return
    last = piece[-1].seq
    if len(piece) == MAX_PAGE:
        last = await store.last_seq(chat_id)
    yield piece
    while (seq := piece[-1].seq) < last:
        piece = await store.messages_after(chat_id, seq, limit=min(MAX_PAGE, last - seq))
        yield piece
