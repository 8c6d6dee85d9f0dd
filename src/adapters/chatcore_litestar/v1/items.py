"""How things look under /v1, in JSON."""

from collections.abc import Sequence
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
from chatcore.exporting import Blocked, History, Piece, Totals


class V1Message(msgspec.Struct):
    seq: int
    sender: str
    text: str
    sent_at: str
    """RFC 3339, always in UTC and with six decimals, so that it sorts as text."""


class V1Chat(msgspec.Struct):
    chat_id: int
    user: str
    """The peer."""
    last_message: V1Message | None
    unread: int
    read_seq: int
    peer_read_seq: int


class UserLine(msgspec.Struct, tag="user"):
    """The first line of an export."""

    user: str


class BlockLine(msgspec.Struct, tag="block"):
    user: str
    """Whom the user blocks."""


class ChatLine(msgspec.Struct, tag="chat"):
    """Its messages follow."""

    chat_id: int
    user: str
    """The peer."""
    read_seq: int
    peer_read_seq: int


class MessageLine(msgspec.Struct, tag="message"):
    chat_id: int
    seq: int
    sender: str
    text: str
    sent_at: str


class EndLine(msgspec.Struct, tag="end"):
    """The last one."""

    chats: int
    messages: int


ExportLine = UserLine | BlockLine | ChatLine | MessageLine | EndLine


class MessageEvent(msgspec.Struct, tag=TAGS[MessageSent]):
    chat_id: int
    message: V1Message


class ChatEvent(msgspec.Struct, tag=TAGS[ChatOpened]):
    chat_id: int
    user: str
    """The peer."""


class ReadEvent(msgspec.Struct, tag=TAGS[MarkerMoved]):
    chat_id: int
    user: str
    """Who has read: the peer, or the user on some other device."""
    seq: int


class ResetEvent(msgspec.Struct, tag=TAGS[Reset]):
    cursor: str


EventItem = MessageEvent | ChatEvent | ReadEvent | ResetEvent


def message_item(chat: Chat, message: Message) -> V1Message:
    return V1Message(message.seq, chat.sender_of(message).name, message.text, _sent_at(message))


def _sent_at(message: Message) -> str:
    # Without the offset, which is always that of UTC.
    return message.sent_at.isoformat(timespec="microseconds")[:26] + "Z"


def chat_item(state: ChatState, user: User) -> V1Chat:
    """The chat as `user`, of whom the state is, finds it."""
    chat, last = state.chat, state.last_message
    return V1Chat(
        chat.id,
        chat.peer_of(user).name,
        message_item(chat, last) if last else None,
        state.unread,
        state.read_seq,
        state.peer_read_seq,
    )


def export_lines(piece: Piece, user: User) -> Sequence[ExportLine]:
    """A piece of the export of `user`."""
    if isinstance(piece, History):
        chat = piece.chat
        return [
            MessageLine(
                chat.id, message.seq, chat.sender_of(message).name, message.text, _sent_at(message)
            )
            for message in piece.messages
        ]
    if isinstance(piece, ChatState):
        chat, peer = piece.chat, piece.chat.peer_of(user)
        return [ChatLine(chat.id, peer.name, piece.read_seq, piece.peer_read_seq)]
    if isinstance(piece, Blocked):
        return [BlockLine(blocked.name) for blocked in piece.users]
    if isinstance(piece, Totals):
        return [EndLine(piece.chats, piece.messages)]
    return [UserLine(piece.name)]


def event_item(event: Event, user: User) -> EventItem:
    """What `user`, from whose log the event is, is told of it."""
    match event:
        case MessageSent():
            return MessageEvent(event.chat.id, message_item(event.chat, event.message))
        case ChatOpened():
            return ChatEvent(event.chat.id, event.chat.peer_of(user).name)
        case MarkerMoved():
            return ReadEvent(event.chat.id, event.reader.name, event.seq)
        case Reset():
            return ResetEvent(str(event.cursor))
    assert_never(event)
