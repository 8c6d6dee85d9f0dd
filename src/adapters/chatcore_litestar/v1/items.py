"""The JSON shapes that the routes under /v1 share.

Each object that names a user (`user`, `sender`, `me`) also has that user's `handle`: names of a
host's users need not be unique, and in paths a user is addressed by the handle.
"""

from typing import assert_never

import msgspec

from chatcore import (
    Chat,
    ChatOpened,
    ChatState,
    Event,
    MarkerMoved,
    Message,
    MessageSent,
    Reset,
    User,
)
from chatcore.events import TAGS


class V1Message(msgspec.Struct):
    seq: int
    sender: str
    text: str
    sent_at: str
    """RFC 3339 in UTC with six decimals, so that it sorts as text."""
    handle: str
    """The sender's."""


class V1Chat(msgspec.Struct):
    chat_id: int
    user: str
    """The peer."""
    last_message: V1Message | None
    unread: int
    read_seq: int
    peer_read_seq: int
    handle: str
    """The peer's."""


class MessageEvent(msgspec.Struct, tag=TAGS[MessageSent]):
    chat_id: int
    message: V1Message


class ChatEvent(msgspec.Struct, tag=TAGS[ChatOpened]):
    chat_id: int
    user: str
    """The peer."""
    handle: str


class ReadEvent(msgspec.Struct, tag=TAGS[MarkerMoved]):
    chat_id: int
    user: str
    """The reader: the peer, or the user on another device."""
    seq: int
    handle: str


class ResetEvent(msgspec.Struct, tag=TAGS[Reset]):
    cursor: str


EventItem = MessageEvent | ChatEvent | ReadEvent | ResetEvent


def message_item(chat: Chat, message: Message) -> V1Message:
    sender = chat.sender_of(message)
    return V1Message(message.seq, sender.name, message.text, sent_at(message), sender.handle)


def sent_at(message: Message) -> str:
    # Cut off the offset, which is always +00:00.
    return message.sent_at.isoformat(timespec="microseconds")[:26] + "Z"


def chat_item(state: ChatState, user: User) -> V1Chat:
    """Show the chat to `user`, whose state this is."""
    chat, last = state.chat, state.last_message
    peer = chat.peer_of(user)
    return V1Chat(
        chat.id,
        peer.name,
        message_item(chat, last) if last else None,
        state.unread,
        state.read_seq,
        state.peer_read_seq,
        peer.handle,
    )


def event_item(event: Event, user: User) -> EventItem:
    """Show the event to `user`, whose event log it is from."""
    match event:
        case MessageSent():
            return MessageEvent(event.chat.id, message_item(event.chat, event.message))
        case ChatOpened():
            peer = event.chat.peer_of(user)
            return ChatEvent(event.chat.id, peer.name, peer.handle)
        case MarkerMoved():
            reader = event.reader
            return ReadEvent(event.chat.id, reader.name, event.seq, reader.handle)
        case Reset():
            return ResetEvent(str(event.cursor))
    assert_never(event)
