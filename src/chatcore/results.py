"""The results of Messenger: pages of messages, and snapshots of chats."""

from collections.abc import Sequence
from typing import NamedTuple

from chatcore.events import Cursor
from chatcore.model import Chat, ChatState, Message


class Page(NamedTuple):
    """A stretch of a chat, oldest message first."""

    messages: Sequence[Message]
    older: bool
    """Whether messages precede this page."""
    newer: bool
    """Whether messages follow this page."""


class Opened(NamedTuple):
    """The outcome of `Messenger.ensure_chat`."""

    chat: Chat
    created: bool
    """False if the two had a chat already."""


class Snapshot(NamedTuple):
    """The present state of a user's chats."""

    cursor: Cursor
    """A cursor of the user's log: every change missing from `chats` follows after it. A change in
    `chats` may follow, too; applying an event twice is harmless, since it carries the state."""
    chats: Sequence[ChatState]
    """The 100 most recently active chats."""
