"""Export all data of a user, piece by piece."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from chatcore.messenger import Messenger
from chatcore.model import Chat, ChatState, Message, User

PAGE = 100
"""The most chats, or blocked users, in memory; the store keeps the rest."""


class Blocked(NamedTuple):
    """A page of the users this user blocks."""

    users: Sequence[User]


class History(NamedTuple):
    """The next messages of the last exported chat, at most 500."""

    chat: Chat
    messages: Sequence[Message]


class Totals(NamedTuple):
    """The last piece: the counts. An export without it is incomplete."""

    chats: int
    messages: int


Piece = User | Blocked | ChatState | History | Totals


async def export(messenger: Messenger, user: User) -> AsyncIterator[Piece]:
    """Yield the user; the blocked users; every chat once, as the user sees it, followed by all its
    messages of both users, oldest first; the totals.

    Not a snapshot: everything that existed at the start, plus what arrived before each chat was
    read. Between two pieces it holds a page of chats and the ids of the exported ones, so a slow
    reader costs nothing. Raises Unavailable.
    """
    yield user
    after = 0
    while blocked := await messenger.blocked_by(user, after=after, limit=PAGE):
        yield Blocked(blocked)
        after = blocked[-1].id
    exported: set[int] = set()
    count = 0
    async for chat in _chats(messenger, user):
        if chat.id in exported:
            continue
        exported.add(chat.id)
        yield await messenger.state(user, chat.id)
        async for messages in messenger.history(user, chat):
            count += len(messages)
            yield History(chat, messages)
    yield Totals(len(exported), count)


async def _chats(messenger: Messenger, user: User) -> AsyncIterator[Chat]:
    """Yield every chat, some of them twice."""
    covered = 0
    while True:
        page = await messenger.states(user, limit=PAGE)
        top = page[0].activity if page else 0
        # Chats without activity since the last round began were in that round or an earlier one.
        # A first page that reaches down to that point is one read: no chat can move past it.
        last_round = len(page) < PAGE or page[-1].activity <= covered
        while page:
            for chat in [state.chat for state in page if state.activity > covered]:
                yield chat
            if len(page) < PAGE or (lowest := page[-1].activity) <= covered:
                break
            page = await messenger.states(user, before=lowest, limit=PAGE)
        if last_round:
            return
        # A chat not yet read may have become active and moved above the first page: read again.
        covered = top
