"""What a client holds: its copy of a chat, and a message in its outbox."""

from dataclasses import dataclass, field

from chatcore import Chat, Message, User


@dataclass(slots=True)
class Copy:
    """The device's copy of a chat."""

    chat: Chat
    messages: list[Message] = field(default_factory=list)
    read: int = 0
    peer_read: int = 0

    def unread(self, user: User) -> int:
        return sum(message.sender_id != user.id for message in self.messages[self.read :])


@dataclass(slots=True, eq=False)
class Send:
    """A message in the outbox, identified by its unique text."""

    chat: Chat
    text: str
    key: str | None
    stored: str = ""
    """The text that the service must store; empty if it must refuse."""
    refusal: str = ""
    """The code of the refusal, if it must refuse."""
    tried: bool = False
    above: int = 0
    """The last acknowledged seq of its chat at the first attempt."""
    message: Message | None = None
    """The acknowledged message."""
    refused: bool = False
