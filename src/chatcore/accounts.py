"""Accounts: who may chat, and how they prove it."""

import asyncio
import contextlib
import secrets
import unicodedata
from datetime import timedelta
from typing import NamedTuple
from weakref import WeakValueDictionary

from chatcore.changes import changes_of
from chatcore.errors import (
    InvalidPassword,
    InvalidToken,
    NameTaken,
    Unavailable,
    UserNotFound,
    WrongCredentials,
)
from chatcore.guessing import Guard
from chatcore.model import Clock, User, from_microseconds, is_encodable, to_microseconds, utc_now
from chatcore.names import UserName, canonical_name, lookup_name
from chatcore.passwords import is_common
from chatcore.ports import AccountStore, Claims, Credentials, PasswordHasher, TokenIssuer

CLOCK_SKEW_MARGIN = timedelta(seconds=10)
"""Tokens of up to so long after a change are void with those before it: the clocks of two nodes
differ, and a change takes a moment. Less than issuers let clocks differ by."""

MIN_PASSWORD = 8
MAX_PASSWORD_BYTES = 1024


class Session(NamedTuple):
    """A user, as proven by a token."""

    user: User
    claims: Claims


class Accounts:
    """Registration, login and the check of tokens.

    Where a method takes an `address`, it is the client's, or any text that tells clients apart:
    the guard limits guesses and registrations by it, with TooManyAttempts. A loopback address
    gets the allowance of the machine's owner (`Guard`). Without an address, nothing is limited.

    `refuse_common_passwords` refuses the 10,000 most common passwords wherever a password is
    chosen. Accounts that have one already keep it.

    `changes` announces each user whose password, name or tokens a method changed, before the
    method returns. Subscribers are the chat cache of every Messenger on the same store object,
    and the sessions and streams of every `chat_router`.
    """

    def __init__(
        self,
        store: AccountStore,
        hasher: PasswordHasher,
        tokens: TokenIssuer,
        *,
        clock: Clock = utc_now,
        guard: Guard | None = None,
        refuse_common_passwords: bool = False,
    ) -> None:
        self.changes = changes_of(store)
        self._store = store
        self._hasher = hasher
        self._tokens = tokens
        self._clock = clock
        self._guard = guard or Guard()
        self._refuse_common_passwords = refuse_common_passwords
        self._credential_locks = WeakValueDictionary[int, asyncio.Lock]()

    async def register(self, name: str, password: str, *, address: str | None = None) -> User:
        """Create an account.

        The name follows `UserName`. The password has at least 8 characters (code points
        after NFC) and at most 1,024 bytes of UTF-8, no NUL and no lone surrogate; its forms of
        Unicode are one (NFC). Nothing is asked of its composition (NIST SP 800-63B, section
        5.1.1.2), unless `refuse_common_passwords` is set.
        Raises InvalidName, InvalidPassword, NameTaken, Unavailable.
        """
        user_name = UserName(name)
        normal = self._new_password(password)
        with self._guard.registration(address, user_name.canonical):
            # The store decides; this only spares the hash, the most expensive step by far.
            if await self._store.user_by_name(user_name.canonical) is not None:
                raise NameTaken
            password_hash = await self._hasher.hash(normal)
            now = to_microseconds(self._clock())
            return await self._store.add_user(user_name, password_hash, now)

    async def log_in(self, name: str, password: str, *, address: str | None = None) -> str:
        """A token for the user of that name and password. Raises WrongCredentials,
        Unavailable."""
        try:
            normal = normal_password(password)
        except InvalidPassword:
            raise WrongCredentials from None
        canonical = lookup_name(name)
        with self._guard.attempt(canonical or "", address):
            found = await self._store.credentials(canonical) if canonical else None
            found = await self._verify(normal, found)
        # Before anything else takes time: a password that is changed from here on voids it.
        token = self._issue(found.user.id, found.tokens_from_us)
        if self._hasher.needs_rehash(found.password_hash):
            # Upkeep is no reason to fail a login that has succeeded; the next one retries.
            with contextlib.suppress(Unavailable):
                await self._store.replace_password_hash(
                    found.user.id, found.password_hash, await self._hasher.hash(normal)
                )
        return token

    async def authenticate(self, token: str) -> Session:
        """Whose token this is. Raises InvalidToken, Unavailable."""
        return await self._session(self._tokens.verify(token, self._clock()))

    async def _session(self, claims: Claims) -> Session:
        found = await self._store.credentials_by_id(claims.user_id)
        if found is None or to_microseconds(claims.issued_at) < found.tokens_from_us:
            raise InvalidToken
        return Session(found.user, claims)

    async def change_password(
        self, user: User, current: str, new: str, *, address: str | None = None
    ) -> str:
        """Give the user another password, and void every token issued before. Returns a new
        token. Raises WrongCredentials when `current` is not the password, InvalidPassword for
        the new one as `register` does, Unavailable."""
        normal = self._new_password(new)
        verified = await self._check(user, current, address)
        password_hash = await self._hasher.hash(normal)
        # Hashing takes long, too: of two who change it at once, one knows the password no more.
        async with self._credential_lock(user):
            now = await self._store.credentials_by_id(user.id)
            if now is None or now.password_hash != verified.password_hash:
                raise WrongCredentials
            return self._issue(user.id, await self._set_password(user, password_hash))

    async def reset_password(self, name: str, new: str) -> User:
        """Give the user of that name another password without asking for the old one, and void
        every token issued before: for operators. Raises UserNotFound, InvalidPassword as
        `change_password` does, Unavailable."""
        normal = self._new_password(new)
        canonical = lookup_name(name)
        found = await self._store.credentials(canonical) if canonical else None
        if found is None:
            raise UserNotFound
        await self._set_password(found.user, await self._hasher.hash(normal))
        return found.user

    async def log_out_everywhere(self, user: User, *, proven_by: Claims | None = None) -> None:
        """Void every token issued before. Raises UserNotFound, Unavailable, and InvalidToken when
        the token that it is asked with, if one is named, has become void meanwhile."""
        async with self._credential_lock(user):
            if proven_by is not None:
                # Each call moves the time on by a second. Many at once, with a token that is
                # stolen, would move it so far ahead that nobody could log in for hours.
                await self._session(proven_by)
            with self.changes.changing(user.id):
                await self._store.void_tokens(user.id, self._count_from())

    async def erase(self, user: User, password: str, *, address: str | None = None) -> User:
        """Take the account away, for good: `AccountStore.erase_user` says what stays. Returns
        the user under the name that others see from now on, "deleted user" and eight random
        hexadecimal digits. Raises WrongCredentials when that is not the password, Unavailable.
        """
        await self.check_password(user, password, address=address)
        while True:
            tombstone = UserName(f"deleted user {secrets.token_hex(4)}")
            now = to_microseconds(self._clock())
            try:
                with self.changes.changing(user.id):
                    await self._store.erase_user(user.id, tombstone, now)
            except NameTaken:
                continue
            except UserNotFound:
                raise WrongCredentials from None
            return User(user.id, tombstone.typed)

    async def check_password(
        self, user: User, password: str, *, address: str | None = None
    ) -> None:
        """Raises WrongCredentials when that is not the user's password, Unavailable."""
        await self._check(user, password, address)

    async def _check(self, user: User, password: str, address: str | None) -> Credentials:
        try:
            normal = normal_password(password)
        except InvalidPassword:
            raise WrongCredentials from None
        with self._guard.attempt(canonical_name(user.name), address):
            return await self._verify(normal, await self._store.credentials_by_id(user.id))

    async def _verify(self, normal: str, found: Credentials | None) -> Credentials:
        """The credentials as they are after the verification. Raises WrongCredentials."""
        while True:
            stored = found.password_hash if found else None
            if not await self._hasher.verify(normal, stored) or found is None:
                raise WrongCredentials
            # Verifying takes long: it counts for what is stored by then, which is another
            # password, or the same one hashed anew by somebody else's login.
            found = await self._store.credentials_by_id(found.user.id)
            if found is not None and found.password_hash == stored:
                return found

    def _new_password(self, password: str) -> str:
        """The password in NFC, if a user may choose it: `register` says which. Raises
        InvalidPassword."""
        if len(normal := normal_password(password)) < MIN_PASSWORD:
            raise InvalidPassword(f"a password has at least {MIN_PASSWORD} characters")
        if self._refuse_common_passwords and is_common(normal):
            raise InvalidPassword("a password is not one of the 10,000 most common")
        return normal

    def _credential_lock(self, user: User) -> asyncio.Lock:
        """To be held from a look at what voids the user's tokens until that is changed."""
        if (lock := self._credential_locks.get(user.id)) is None:
            lock = self._credential_locks[user.id] = asyncio.Lock()
        return lock

    async def _set_password(self, user: User, password_hash: str) -> int:
        with self.changes.changing(user.id):
            return await self._store.void_tokens(
                user.id, self._count_from(), password_hash=password_hash
            )

    def _count_from(self) -> int:
        """From when on tokens count again. Not from this very moment: until the store has it,
        others log in with what is being changed, by clocks that may be ahead."""
        return to_microseconds(self._clock() + CLOCK_SKEW_MARGIN) // 1_000_000 * 1_000_000

    def _issue(self, user_id: int, tokens_from_us: int) -> str:
        # Soon after a change, tokens are dated to when they count.
        return self._tokens.issue(user_id, max(self._clock(), from_microseconds(tokens_from_us)))


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
