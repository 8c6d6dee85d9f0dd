"""The host's policy: the questions, and the answers that it may give.

`chatcore.ports.Policy` is the port; `chatcore.gate` asks it.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from chatcore.errors import ChatcoreError
from chatcore.model import Chat, User

_CODE = re.compile(r"[a-z0-9_]{1,64}")


def _codes(error: type[ChatcoreError]) -> set[str]:
    """The codes of an error and of all errors below it."""
    return {error.code}.union(*map(_codes, error.__subclasses__()))


_TAKEN = _codes(ChatcoreError) | {
    # Other codes of problem details under /v1.
    *("bad_request", "malformed_body", "unauthorized", "forbidden", "not_found"),
    *("method_not_allowed", "request_timeout", "content_too_large", "unsupported_media_type"),
    *("cross_origin", "unprocessable_content", "too_many_requests", "internal_server_error"),
    "service_unavailable",
}
"""The codes that clients know as chatcore's own."""


class Actor(Enum):
    """On whose behalf a chat is opened or a message is sent."""

    USER = "user"
    """The user, through a client."""
    HOST = "host"
    """The program that embeds chatcore."""
    IMPORT = "import"
    """A copy of chats that happened elsewhere."""


class Draft(NamedTuple):
    """A message that has no number yet."""

    sender: User
    chat: Chat
    text: str
    """As submitted, within the rules of `NewMessage`."""
    actor: Actor
    idempotency_key: str | None
    """Equal for every attempt to send the same message, so that a policy can count it once. Other
    senders, and the same one in other chats, may use the same key."""

    @property
    def peer(self) -> User:
        """The other user of the chat."""
        return self.chat.peer_of(self.sender)


@dataclass(frozen=True, slots=True)
class Allow:
    """The answer that lets a chat or a message pass unchanged."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The answer that lets a message pass with another text, which must keep the rules of
    `NewMessage`: the send raises InvalidText if it does not."""

    text: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """The answer that refuses a chat or a message.

    `code` says why, to the client's program: 1 to 64 characters of a-z, 0-9 and `_`, and none of
    chatcore's own codes. Raises ValueError otherwise. Later versions may add codes of their own:
    one that begins with the name of your product never meets them.
    """

    code: str

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.code):
            raise ValueError(f"not a code of 1 to 64 characters of a-z, 0-9 and _: {self.code!a}")
        if self.code in _TAKEN:
            raise ValueError(f"{self.code} is a code of chatcore: choose another one")
