"""The ports beside the store: rings, the host's rules, passwords and tokens."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

from chatcore.model import User
from chatcore.policy import Actor, Allow, Draft, Refuse, Rewrite


@runtime_checkable
class Doorbell(Protocol):
    """Rings for listeners of a user whose event log may have grown. A ring is only a hint: rings
    may be lost, doubled, late or early, so listeners also poll the log every few seconds."""

    def ring(self, user_ids: Iterable[int]) -> None:
        """Wake the listeners of these users in every process that uses the store. Returns at once
        and raises nothing."""
        ...

    def listen(self, user_id: int, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake`, on the event loop of this call, at every ring for the user. Returns the
        function that unsubscribes, to be called once. `wake` returns at once and raises nothing."""
        ...


class Policy(Protocol):
    """The host's rules about which chats may be opened, and what may be sent.

    Asked before anything is numbered or stored; never for a chat that exists or a replay. A block
    or an erasure forbids what the policy allows. Of simultaneous calls for one chat, or with one
    idempotency key, each may be asked.

    An answer must come within a second (`policy_seconds` of Messenger), or its call is cancelled.
    An exception, a late answer and any other object than the answers named here are failures: the
    client gets PolicyUnavailable, and may retry. Calls overlap, and none may block the event loop.
    """

    async def may_open(self, user: User, peer: User, actor: Actor) -> Allow | Refuse:
        """Answer whether `user` may open a chat with `peer`, who is another user."""
        ...

    async def may_send(self, draft: Draft) -> Allow | Rewrite | Refuse:
        """Answer whether the message may be sent, or with which other text."""
        ...


@runtime_checkable
class PasswordHasher(Protocol):
    """Hashes and verifies passwords.

    Passwords arrive as valid UTF-8 text of at most 1,024 bytes, in NFC, without NUL. Every
    method but `needs_rehash` may raise Overloaded if too many callers wait.
    """

    async def hash(self, password: str) -> str:
        """Return a salted hash, different at every call, without blocking the event loop."""
        ...

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether the hash was made from this password.

        False for None, after the work that verifying a new hash costs: the time does not
        distinguish an unknown user from a wrong password. False for a malformed hash, too.
        """
        ...

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether the hash was made with other than the current parameters."""
        ...


class Claims(NamedTuple):
    """The content of a valid token. The times are aware datetimes."""

    user_id: int
    issued_at: datetime
    """The `now` passed to `issue`, with or without the fraction of a second."""
    expires_at: datetime
    session_id: str | None = None
    """The device session of the token; None for a token of a login without one."""


@runtime_checkable
class TokenIssuer(Protocol):
    """Issues tokens that only an issuer with the same secret can issue.

    `now` is an aware datetime, of any time zone.
    """

    def issue(self, user_id: int, now: datetime, *, session_id: str | None = None) -> str:
        """Return a token for the user, in visible ASCII. One with a session id, of 32 lower-case
        hexadecimal digits, may expire earlier than others."""
        ...

    def verify(self, token: str, now: datetime) -> Claims:
        """Return the claims of the token, which may be any string. Raises InvalidToken unless it
        was issued with this secret, is unaltered and has not expired: it is valid before
        `expires_at`, not at it, even if it was issued at a time after `now`, for clocks differ.
        Another spelling of a valid token (of its base64, say) may be valid, too."""
        ...
