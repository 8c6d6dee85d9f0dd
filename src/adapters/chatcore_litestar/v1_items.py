"""How things look under /v1, in JSON."""

import msgspec

from chatcore import Chat, ChatOpened, ChatState, Event, Message, MessageSent, Reset, User


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


class MessageEvent(msgspec.Struct, tag="message"):
    chat_id: int
    message: V1Message


class ChatEvent(msgspec.Struct, tag="chat"):
    chat_id: int
    user: str
    """The peer."""


class ReadEvent(msgspec.Struct, tag="read"):
    chat_id: int
    user: str
    """Who has read: the peer, or the user on some other device."""
    seq: int


class ResetEvent(msgspec.Struct, tag="reset"):
    cursor: str


EventItem = MessageEvent | ChatEvent | ReadEvent | ResetEvent


def message_item(chat: Chat, message: Message) -> V1Message:
    # Without the offset, which is always that of UTC.
    sent_at = message.sent_at.isoformat(timespec="microseconds")[:26] + "Z"
    return V1Message(message.seq, chat.sender_of(message).name, message.text, sent_at)


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


def event_item(event: Event, user: User) -> EventItem:
    """What `user`, from whose log the event is, is told of it."""
    if isinstance(event, MessageSent):
        return MessageEvent(event.chat.id, message_item(event.chat, event.message))
    if isinstance(event, ChatOpened):
        return ChatEvent(event.chat.id, event.chat.peer_of(user).name)
    if isinstance(event, Reset):
        return ResetEvent(str(event.cursor))
    return ReadEvent(event.chat.id, event.reader.name, event.seq)
