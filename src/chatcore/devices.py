"""Device sessions: sign-ins that last for months, one by one.

A session has an access token, good for about an hour, and a refresh token, good for one renewal.

A refresh token is 48 random bytes. The first 16 stay the same; their digest is the session's id, so
the id alone, which users see, can neither renew a session nor end it. The other 32 are the secret.
A renewal replaces it by HMAC-SHA256(secret, salt), with a new random salt. The store has the salt
and digests of the present and the former secret: a repeated renewal gets the same successor, and
the database has nothing to sign in with.
"""

import base64
import contextlib
import hmac
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from inspect import signature
from typing import NamedTuple, Self

from chatcore.changes import Changes
from chatcore.errors import (
    InvalidDevice,
    InvalidToken,
    SessionNotFound,
    UserNotFound,
    WrongCredentials,
)
from chatcore.handles import is_plain
from chatcore.model import Clock, User, to_microseconds
from chatcore.ports import (
    Claims,
    Credentials,
    DeviceSession,
    NewSession,
    Renewal,
    Session,
    SessionStore,
    TokenIssuer,
)

MAX_SESSIONS = 50
"""The most sessions of a user. One more ends the one that was used longest ago."""
MAX_DEVICE = 64
REPEAT = timedelta(seconds=60)
"""How long a renewal can be repeated, if its answer was lost on the way."""

IDLE = timedelta(days=30)
LONGEST = timedelta(days=180)

_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(days=36_525)
_MICROSECOND = timedelta(microseconds=1)
_REPEAT_US = REPEAT // _MICROSECOND
_TRIES = 3
"""How often a sign-in verifies the password while the user's credentials change."""

_SECRET = 32
_HANDLE = 16
_REFRESH_TOKEN = re.compile(r"[A-Za-z0-9_-]{64}")
_SESSION_ID = re.compile(r"[0-9a-f]{32}")

logger = logging.getLogger(__name__)

Verify = Callable[[str, str, str | None], Awaitable[Credentials]]
"""Takes a name, a password and an address. Raises as `Accounts.log_in` does."""


class DeviceTokens(NamedTuple):
    """What a device keeps of its session. The refresh token replaces any earlier one."""

    session_id: str
    access_token: str
    expires_at: datetime
    """When the access token expires. The session itself may end earlier or later."""
    refresh_token: str


class Devices:
    """The device sessions of `Accounts`, as its attribute `devices`.

    A session ends when the user ends it, changes the password, logs out everywhere or is erased,
    when the operator resets the password, when one refresh token is used twice, and when a user has
    more than 50. It expires when it was not renewed for `idle`, and in any case `longest` after the
    sign-in. Its access tokens are void from then on: at once in this process, in others within
    60 s.
    """

    def __init__(
        self,
        store: SessionStore,
        tokens: TokenIssuer,
        verify: Verify,
        changes: Changes,
        *,
        clock: Clock,
        idle: timedelta = IDLE,
        longest: timedelta = LONGEST,
    ) -> None:
        _expect_sessions(store, tokens)
        if not all(_SHORTEST <= each <= _LONGEST for each in (idle, longest)):
            raise ValueError("session_idle and session_longest are from a second to 100 years")
        self._store = store
        self._tokens = tokens
        self._verify = verify
        self._changes = changes
        self._clock = clock
        # Microseconds, since a clock in local time would subtract across a change of its offset.
        self._idle_us = min(idle, longest) // _MICROSECOND
        self._longest_us = longest // _MICROSECOND

    async def sign_in(
        self, name: str, password: str, device: str, *, address: str | None = None
    ) -> DeviceTokens:
        """Start a session, as `Accounts.log_in` makes a token and within the same limits.

        `device` is how the user will recognise the device: 1 to 64 characters without controls and
        lone surrogates. Raises InvalidDevice, WrongCredentials, TooManyAttempts, Unavailable.
        """
        if not 1 <= len(device) <= MAX_DEVICE or not is_plain(device):
            raise InvalidDevice(
                f"a device's name has 1 to {MAX_DEVICE} characters and no control character"
            )
        for _ in range(_TRIES):
            found = await self._verify(name, password, address)
            # The password is right, but tokens may have become void since it was verified.
            with contextlib.suppress(UserNotFound):
                return await self._start(found, device)
        raise WrongCredentials

    async def _start(self, found: Credentials, device: str) -> DeviceTokens:
        """Raises UserNotFound if the credentials have changed."""
        token, now = _RefreshToken.new(), self._clock()
        now_us = to_microseconds(now)
        new = NewSession(
            token.session_id,
            found.user.id,
            device,
            token.digest,
            now_us,
            now_us + self._idle_us,
            now_us + self._longest_us,
        )
        ended = await self._store.add_session(
            new, tokens_from_us=found.tokens_from_us, limit=MAX_SESSIONS
        )
        for session_id in ended:
            self._changes.announce_session(found.user.id, session_id)
        return self._issue(found.user.id, token, now)

    async def renew(self, refresh_token: str) -> DeviceTokens:
        """Return a new access token and the next refresh token.

        For 60 s a repeated call returns the same refresh token, unless that was used by then: an
        answer may be lost, and two tabs may renew at once. Any other refresh token of the past ends
        the session, since a thief may have used it; that is logged. Raises InvalidToken,
        Unavailable.
        """
        token, now = _RefreshToken.parse(refresh_token), self._clock()
        now_us, salt = to_microseconds(now), secrets.token_bytes(_SECRET)
        renewed = await self._store.renew_session(
            Renewal(
                token.session_id,
                token.digest,
                token.successor(salt).digest,
                salt,
                now_us,
                now_us - _REPEAT_US,
                now_us + self._idle_us,
            )
        )
        if renewed is None:
            raise InvalidToken
        user_id = renewed.session.user.id
        if renewed.salt is None:
            self._changes.announce_session(user_id, token.session_id)
            logger.warning(
                "session %s of user %d ended: an outdated refresh token was used",
                token.session_id,
                user_id,
            )
            raise InvalidToken
        return self._issue(user_id, token.successor(renewed.salt), now)

    async def sessions(self, user: User) -> Sequence[DeviceSession]:
        """Return the sessions of the user, the most recently used first. Raises Unavailable."""
        return await self._store.sessions_of(user.id, to_microseconds(self._clock()))

    async def end(self, user: User, session_id: str) -> None:
        """End a session of the user. Raises SessionNotFound, Unavailable."""
        if not _SESSION_ID.fullmatch(session_id):
            raise SessionNotFound
        now_us = to_microseconds(self._clock())
        with self._changes.changing(user.id, session_id):
            if not await self._store.end_session(user.id, session_id, now_us):
                raise SessionNotFound

    async def authenticate(self, claims: Claims) -> Session:
        """Return the session of a token with these claims, which have a session id. Raises
        InvalidToken, Unavailable."""
        found = None
        if claims.session_id is not None:
            now_us = to_microseconds(self._clock())
            found = await self._store.session_by_id(claims.session_id, now_us)
        if found is None or found.user.id != claims.user_id:
            raise InvalidToken
        return Session(found.user, min(claims.expires_at, found.expires_at), claims)

    def _issue(self, user_id: int, token: "_RefreshToken", now: datetime) -> DeviceTokens:
        access_token = self._tokens.issue(user_id, now, session_id=token.session_id)
        expires_at = self._tokens.verify(access_token, now).expires_at
        return DeviceTokens(token.session_id, access_token, expires_at, token.text)


def _expect_sessions(store: object, tokens: TokenIssuer) -> None:
    """Raise TypeError for an adapter that was written before sessions: else the first sign-in on a
    device would fail."""
    methods = [name for name in vars(SessionStore) if not name.startswith("_")]
    if missing := [name for name in methods if not callable(getattr(store, name, None))]:
        name = type(store).__name__
        raise TypeError(f"{name} is no SessionStore: add {', '.join(missing)} (docs/adapters.md)")
    try:
        signature(tokens.issue).bind(1, None, session_id=None)
    except ValueError:
        return  # Compiled code may have no signature.
    except TypeError:
        raise TypeError(
            f"{type(tokens).__name__}.issue must take the argument session_id (docs/adapters.md)"
        ) from None


class _RefreshToken(NamedTuple):
    handle: bytes
    secret: bytes

    @classmethod
    def new(cls) -> Self:
        return cls(secrets.token_bytes(_HANDLE), secrets.token_bytes(_SECRET))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidToken. Every token has one spelling: base64 of 48 bytes has no spare
        bits."""
        if not _REFRESH_TOKEN.fullmatch(text):
            raise InvalidToken
        found = base64.urlsafe_b64decode(text)
        return cls(found[:_HANDLE], found[_HANDLE:])

    @property
    def text(self) -> str:
        return base64.urlsafe_b64encode(self.handle + self.secret).decode()

    @property
    def session_id(self) -> str:
        return sha256(self.handle).hexdigest()[:32]

    @property
    def digest(self) -> bytes:
        return sha256(self.secret).digest()

    def successor(self, salt: bytes) -> Self:
        return self._replace(secret=hmac.digest(self.secret, salt, "sha256"))
