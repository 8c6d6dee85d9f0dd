"""The cache of chats found by id or by the peer's handle."""

from chatcore.model import Chat, elapsed

MAX_CHATS = 10_000
MAX_AGE_SECONDS = 60.0
"""How long the former name of a user that another process erased or renamed may still appear."""

Key = tuple[int, str | int]
"""A user's id, and what the user asked for: the peer's handle, or the chat's id."""


class ChatCache:
    """Chats that were found lately, at most 10,000, each for a minute at most.

    A chat never changes once opened, but for the names and handles of its users.
    """

    def __init__(self) -> None:
        self._chats: dict[Key, Chat] = {}
        self._expires_at = 0.0

    def chats(self) -> dict[Key, Chat]:
        """The dictionary to look up in and, after a miss, to pass to `add`."""
        if (now := elapsed()) >= self._expires_at:
            self._chats = {}
            self._expires_at = now + MAX_AGE_SECONDS
        return self._chats

    def clear(self) -> None:
        # Replace the dict, don't clear it: a lookup in flight may still write a stale name.
        self._chats = {}

    def user_changed(self, _user_id: int) -> None:
        """Clear the cache: finding the user's chats in it takes longer than to read them again."""
        self.clear()


def add(chats: dict[Key, Chat], key: Key, chat: Chat) -> None:
    """Add a chat to what `ChatCache.chats` returned before the store was asked."""
    if len(chats) >= MAX_CHATS:
        # The oldest entry, since dictionaries keep their order.
        chats.pop(next(iter(chats)), None)
    chats[key] = chat
