"""Accounts: who may chat, and how they prove it."""

import contextlib
import unicodedata
from typing import NamedTuple

from chatcore.errors import (
    InvalidPassword,
    InvalidToken,
    NameTaken,
    Unavailable,
    WrongCredentials,
)
from chatcore.model import Clock, User, is_encodable, to_microseconds, utc_now
from chatcore.names import UserName, lookup_name
from chatcore.ports import AccountStore, Claims, PasswordHasher, TokenIssuer

MIN_PASSWORD = 8
MAX_PASSWORD_BYTES = 1024


class Session(NamedTuple):
    """A user, as proven by a token."""

    user: User
    claims: Claims


class Accounts:
    """Registration, login and the check of tokens."""

    def __init__(
        self,
        store: AccountStore,
        hasher: PasswordHasher,
        tokens: TokenIssuer,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._tokens = tokens
        self._clock = clock

    async def register(self, name: str, password: str) -> User:
        """Create an account.

        The name follows `UserName`. The password has at least 8 characters (code points
        after NFC) and at most 1,024 bytes of UTF-8, no NUL and no lone surrogate; nothing is
        asked of its composition (NIST SP 800-63B, section 5.1.1.2), and its forms of Unicode
        are one (NFC).
        Raises InvalidName, InvalidPassword, NameTaken, Unavailable.
        """
        user_name = UserName(name)
        if len(normal := normal_password(password)) < MIN_PASSWORD:
            raise InvalidPassword(f"a password has at least {MIN_PASSWORD} characters")
        # The store decides; this only spares the hash, the most expensive step by far.
        if await self._store.user_by_name(user_name.canonical) is not None:
            raise NameTaken
        password_hash = await self._hasher.hash(normal)
        return await self._store.add_user(user_name, password_hash, to_microseconds(self._clock()))

    async def log_in(self, name: str, password: str) -> str:
        """A token for the user of that name and password. Raises WrongCredentials,
        Unavailable."""
        try:
            normal = normal_password(password)
        except InvalidPassword:
            raise WrongCredentials from None
        canonical = lookup_name(name)
        found = await self._store.credentials(canonical) if canonical else None
        stored = found.password_hash if found else None
        if not await self._hasher.verify(normal, stored) or found is None:
            raise WrongCredentials
        if self._hasher.needs_rehash(found.password_hash):
            # Upkeep is no reason to fail a login that has succeeded; the next one retries.
            with contextlib.suppress(Unavailable):
                await self._store.replace_password_hash(
                    found.user.id, found.password_hash, await self._hasher.hash(normal)
                )
        return self._tokens.issue(found.user.id, self._clock())

    async def authenticate(self, token: str) -> Session:
        """Whose token this is. Raises InvalidToken, Unavailable."""
        claims = self._tokens.verify(token, self._clock())
        user = await self._store.user_by_id(claims.user_id)
        if user is None:
            raise InvalidToken
        return Session(user, claims)


def normal_password(password: str) -> str:
    """The password in NFC. Raises InvalidPassword when it has a NUL, a lone surrogate, or
    more than 1,024 bytes of UTF-8, as given or in NFC."""
    # C libraries of hashers end a password at its first NUL.
    if "\0" in password:
        raise InvalidPassword("a password has no NUL")
    # Before and after: normalisation of a huge text is itself expensive, and NFC can grow.
    for _ in range(2):
        if not is_encodable(password) or len(password.encode()) > MAX_PASSWORD_BYTES:
            raise InvalidPassword(f"a password has at most {MAX_PASSWORD_BYTES} bytes of UTF-8")
        password = unicodedata.normalize("NFC", password)
    return password
