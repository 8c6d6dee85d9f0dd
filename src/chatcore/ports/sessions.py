"""The port of device sessions: where a user is signed in."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

from chatcore.model import User, from_microseconds


class DeviceSession(NamedTuple):
    """A sign-in on one device, until it ends or expires."""

    id: str
    user: User
    device: str
    """The name of the device, as given at the sign-in."""
    created_us: int
    used_us: int
    """When it was renewed last; `created_us` before that."""
    expires_us: int
    """It has expired at this time, unless it was renewed before."""

    @property
    def created_at(self) -> datetime:
        return from_microseconds(self.created_us)

    @property
    def used_at(self) -> datetime:
        return from_microseconds(self.used_us)

    @property
    def expires_at(self) -> datetime:
        return from_microseconds(self.expires_us)


class NewSession(NamedTuple):
    """A session to add."""

    id: str
    """32 hexadecimal digits, in lower case."""
    user_id: int
    device: str
    digest: bytes
    """Of the refresh token, 32 bytes."""
    created_us: int
    expires_us: int
    """When it expires unless it is renewed."""
    ends_us: int
    """When it expires at the latest, however often it is renewed."""


class Renewal(NamedTuple):
    """A use of a refresh token, with the one that is to replace it."""

    session_id: str
    digest: bytes
    """Of the token that is used."""
    successor: bytes
    """The digest of the token that replaces it."""
    salt: bytes
    """From which, with the used token, the successor is made; 32 bytes."""
    at_us: int
    repeat_since_us: int
    """A renewal after this time may be repeated."""
    expires_us: int
    """When the renewed session expires, or at its `ends_us` if that is earlier."""


class Renewed(NamedTuple):
    """The outcome of a renewal."""

    session: DeviceSession
    salt: bytes | None
    """From which the successor is made; None if the token had been replaced and the session has
    therefore ended."""


@runtime_checkable
class SessionStore(Protocol):
    """The device sessions of users with accounts. A session that has expired is in no result, at
    the `now_us` of the call."""

    async def add_session(
        self, new: NewSession, *, tokens_from_us: int, limit: int
    ) -> Sequence[str]:
        """Add a session. Deletes the user's sessions that have expired at `new.created_us`, and
        ends those used longest ago until the user has at most `limit`, 1 or more. Returns the ids
        of those it ended.

        Raises UserNotFound unless the user has an account whose `tokens_from_us` is the one given:
        a password that was verified before a change starts no session after it.
        """
        ...

    async def session_by_id(self, session_id: str, now_us: int) -> DeviceSession | None:
        """Return the session with this id, or None."""
        ...

    async def sessions_of(self, user_id: int, now_us: int) -> Sequence[DeviceSession]:
        """Return all sessions of the user, the most recently used first."""
        ...

    async def renew_session(self, renewal: Renewal) -> Renewed | None:
        """Replace the refresh token of a session by its successor.

        - The present token is replaced. The session, used now, is returned with `renewal.salt`.
        - The one before it, replaced after `repeat_since_us`, is a repetition: the session is
          returned with the salt of the present token, and nothing changes.
        - With any other token the session ends. It is returned without a salt.

        Of any number of simultaneous calls with the present token, one replaces it and the others
        are repetitions. Returns None for an unknown session.
        """
        ...

    async def end_session(self, user_id: int, session_id: str, now_us: int) -> bool:
        """End the session of this user. False if the user has no such session."""
        ...
