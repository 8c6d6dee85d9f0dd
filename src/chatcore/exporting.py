"""Everything of a user, told piece by piece."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from chatcore.messenger import Messenger
from chatcore.model import Chat, ChatState, Message, User

PAGE = 100
"""Chats, or blocked users, held at most: the rest waits in the store."""


class Blocked(NamedTuple):
    """Whom the user blocks, some of them."""

    users: Sequence[User]


class History(NamedTuple):
    """Messages of the chat that was told last, at most 500, following those told before."""

    chat: Chat
    messages: Sequence[Message]


class Totals(NamedTuple):
    """The last piece: how much there was. What ends without it is not everything."""

    chats: int
    messages: int


Piece = User | Blocked | ChatState | History | Totals


async def export(messenger: Messenger, user: User) -> AsyncIterator[Piece]:
    """The user; whom the user blocks; every chat, as the user finds it, once, each followed by all
    its messages, from both sides, oldest first; the totals.

    Told is what there is when the export comes to it: at least all that there was at its start.
    Between two pieces it holds a page of chats and the ids of those that it told, so a slow
    reader costs nothing. Raises Unavailable.
    """
    yield user
    after = 0
    while blocked := await messenger.blocked_by(user, after=after, limit=PAGE):
        yield Blocked(blocked)
        after = blocked[-1].id
    told: set[int] = set()
    count = 0
    async for chat in _chats(messenger, user):
        if chat.id in told:
            continue
        told.add(chat.id)
        yield await messenger.state(user, chat.id)
        async for messages in messenger.history(user, chat):
            count += len(messages)
            yield History(chat, messages)
    yield Totals(len(told), count)


async def _chats(messenger: Messenger, user: User) -> AsyncIterator[Chat]:
    """Every chat, some of them twice."""
    covered = 0
    while True:
        page = await messenger.states(user, limit=PAGE)
        top = page[0].activity if page else 0
        # Whoever was not active since the last round began was met in it, or before. A page that
        # reaches down to there is one step, between which and the next no chat can slip by.
        last_round = len(page) < PAGE or page[-1].activity <= covered
        while page:
            for chat in [state.chat for state in page if state.activity > covered]:
                yield chat
            if len(page) < PAGE or (lowest := page[-1].activity) <= covered:
                break
            page = await messenger.states(user, before=lowest, limit=PAGE)
        if last_round:
            return
        # Meanwhile chats that were still to come may have moved above the first page.
        covered = top
