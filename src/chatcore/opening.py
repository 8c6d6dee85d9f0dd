"""Opens a chat, or finds the one that there is."""

from collections.abc import Awaitable
from typing import Protocol

from chatcore.errors import ChatExists, UserNotFound
from chatcore.model import Chat, User
from chatcore.results import Opened


class _Chats(Protocol):
    async def chat_with(self, user_id: int, peer: str) -> Chat | None: ...


async def open_or_find(opening: Awaitable[Chat], chats: _Chats, user: User, peer: User) -> Opened:
    """Await the opening; return its chat, or after ChatExists the one that the two have. Raises
    what the opening raises."""
    try:
        return Opened(await opening, created=True)
    except ChatExists:
        chat = await chats.chat_with(user.id, peer.key)
        if chat is None:
            # An erasure gave the peer another handle.
            raise UserNotFound from None
        return Opened(chat, created=False)
