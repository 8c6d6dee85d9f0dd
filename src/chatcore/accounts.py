"""Accounts: registration, login, tokens and the end of an account."""

import asyncio
import contextlib
import unicodedata
from datetime import timedelta
from weakref import WeakValueDictionary

from chatcore.changes import changes_of
from chatcore.devices import IDLE, LONGEST, Devices
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
from chatcore.people import erase
from chatcore.ports import (
    AccountStore,
    Claims,
    Credentials,
    PasswordHasher,
    Session,
    TokenIssuer,
)

CLOCK_SKEW_MARGIN = timedelta(seconds=10)
"""A change also voids tokens dated up to this long after it: the clocks of two nodes differ, and a
change takes a moment."""

MAX_AHEAD = timedelta(seconds=30)
"""A token dated further ahead is refused: it would outlive the next changes. One that is dated to
the last change is not, however wrong the clock of the node was that made the change."""

MIN_PASSWORD = 8
MAX_PASSWORD_BYTES = 1024


class Accounts:
    """Registers users, logs them in and checks their tokens.

    An `address` is the client's address, or any text that distinguishes clients. The guard limits
    guesses and registrations by it; a method beyond a limit raises TooManyAttempts. A loopback
    address gets the allowance of the machine's owner (`Guard`). Without an address, no limit holds.

    `refuse_common_passwords` refuses the 10,000 most common passwords when a user chooses a
    password. Existing accounts keep theirs.

    A device session lasts for `session_idle` without a renewal, and at most for `session_longest`:
    each from a second to 100 years, otherwise raises ValueError. Raises TypeError for a store or an
    issuer that knows no device sessions.

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
        session_idle: timedelta = IDLE,
        session_longest: timedelta = LONGEST,
    ) -> None:
        self.changes = changes_of(store)
        self._store = store
        self._hasher = hasher
        self._tokens = tokens
        self._clock = clock
        self._guard = guard or Guard()
        self._refuse_common_passwords = refuse_common_passwords
        self._credential_locks = WeakValueDictionary[int, asyncio.Lock]()
        self.devices = Devices(
            store,
            tokens,
            self._sign_in,
            self.changes,
            clock=clock,
            idle=session_idle,
            longest=session_longest,
        )

    async def register(self, name: str, password: str, *, address: str | None = None) -> User:
        """Create an account.

        The name follows `UserName`. The password has at least 8 characters (code points
        after NFC) and at most 1,024 bytes of UTF-8, no NUL and no lone surrogate; all its
        Unicode forms are equal (NFC). It needs no mix of character classes (NIST SP 800-63B,
        section 5.1.1.2); `refuse_common_passwords` refuses the most common ones.
        Raises InvalidName, InvalidPassword, NameTaken, Unavailable.
        """
        user_name = UserName(name)
        normal = self._new_password(password)
        with self._guard.registration(address, user_name.canonical):
            # The store decides; this check only saves the hash, by far the most expensive step.
            if await self._store.user_by_name(user_name.canonical) is not None:
                raise NameTaken
            password_hash = await self._hasher.hash(normal)
            now = to_microseconds(self._clock())
            return await self._store.add_user(user_name, password_hash, now)

    async def log_in(self, name: str, password: str, *, address: str | None = None) -> str:
        """Return a token for the user with this name and password. Raises WrongCredentials,
        Unavailable."""
        found, normal = await self._logged_in(name, password, address)
        # Issued before the rehash: a password change from here on voids the token.
        token = self._issue(found.user.id, found.tokens_from_us)
        await self._rehash(found, normal)
        return token

    async def _sign_in(self, name: str, password: str, address: str | None) -> Credentials:
        found, normal = await self._logged_in(name, password, address)
        await self._rehash(found, normal)
        return found

    async def _logged_in(
        self, name: str, password: str, address: str | None
    ) -> tuple[Credentials, str]:
        """Return the credentials of the user, and the password in NFC. Raises WrongCredentials."""
        try:
            normal = normal_password(password)
        except InvalidPassword:
            raise WrongCredentials from None
        canonical = lookup_name(name)
        with self._guard.attempt(canonical or "", address):
            found = await self._store.credentials(canonical) if canonical else None
            return await self._verify(normal, found), normal

    async def _rehash(self, found: Credentials, normal: str) -> None:
        if self._hasher.needs_rehash(found.password_hash):
            # A failed rehash must not fail the login; the next login retries.
            with contextlib.suppress(Unavailable):
                await self._store.replace_password_hash(
                    found.user.id, found.password_hash, await self._hasher.hash(normal)
                )

    async def authenticate(self, token: str) -> Session:
        """Return the session of this token. Raises InvalidToken, Unavailable."""
        return await self._session(self._tokens.verify(token, self._clock()))

    async def _session(self, claims: Claims) -> Session:
        if claims.session_id is not None:
            return await self.devices.authenticate(claims)
        found = await self._store.credentials_by_id(claims.user_id)
        if found is None or (issued_us := to_microseconds(claims.issued_at)) < found.tokens_from_us:
            raise InvalidToken
        if claims.issued_at - self._clock() > MAX_AHEAD and issued_us > found.tokens_from_us:
            raise InvalidToken
        return Session(found.user, claims.expires_at, claims)

    async def change_password(
        self, user: User, current: str, new: str, *, address: str | None = None
    ) -> str:
        """Change the user's password, void every token issued before and end all device
        sessions. Returns a new token. Raises WrongCredentials if `current` is not the password,
        InvalidPassword if `register` would refuse the new one, Unavailable."""
        normal = self._new_password(new)
        verified = await self._check(user, current, address)
        password_hash = await self._hasher.hash(normal)
        # Hashing takes long: of two simultaneous changes, the later one has an outdated password.
        async with self._credential_lock(user):
            latest = await self._store.credentials_by_id(user.id)
            if latest is None or latest.password_hash != verified.password_hash:
                raise WrongCredentials
            return self._issue(user.id, await self._set_password(user, password_hash))

    async def reset_password(self, name: str, new: str) -> User:
        """Set the password of the user with this name without the current one, void every token
        issued before and end all device sessions: for operators. Raises UserNotFound,
        InvalidPassword if `register` would refuse the password, Unavailable."""
        normal = self._new_password(new)
        canonical = lookup_name(name)
        found = await self._store.credentials(canonical) if canonical else None
        if found is None:
            raise UserNotFound
        await self._set_password(found.user, await self._hasher.hash(normal))
        return found.user

    async def log_out_everywhere(self, user: User, *, proven_by: Claims | None = None) -> None:
        """Void every token issued before and end all device sessions. Raises UserNotFound,
        Unavailable, and InvalidToken if the token with the claims `proven_by` is void already."""
        async with self._credential_lock(user):
            if proven_by is not None:
                # Each call raises `tokens_from_us` by a second or more. Many calls at once with a
                # stolen token could raise it by hours, to which all new tokens would be dated.
                await self._session(proven_by)
            with self.changes.changing(user.id):
                await self._store.void_tokens(user.id, self._new_tokens_from())

    async def erase(self, user: User, password: str, *, address: str | None = None) -> User:
        """Erase the account, for good: `Erasure.erase_user` says what stays. Returns the
        user with the tombstone name that others see from now on, "deleted user" and eight random
        hexadecimal digits. Raises WrongCredentials if the password is wrong, Unavailable.
        """
        await self.check_password(user, password, address=address)
        try:
            return await erase(self._store, self.changes, user, self._clock)
        except UserNotFound:
            raise WrongCredentials from None

    async def check_password(
        self, user: User, password: str, *, address: str | None = None
    ) -> None:
        """Raise WrongCredentials if this is not the user's password. Raises Unavailable."""
        await self._check(user, password, address)

    async def _check(self, user: User, password: str, address: str | None) -> Credentials:
        try:
            normal = normal_password(password)
        except InvalidPassword:
            raise WrongCredentials from None
        with self._guard.attempt(canonical_name(user.name), address):
            return await self._verify(normal, await self._store.credentials_by_id(user.id))

    async def _verify(self, normal: str, found: Credentials | None) -> Credentials:
        """Return the credentials that the password was verified for, still stored after it. Raises
        WrongCredentials."""
        while True:
            stored = found.password_hash if found else None
            if not await self._hasher.verify(normal, stored) or found is None:
                raise WrongCredentials
            # Verification takes long: another request may have changed the password, or another
            # login may have rehashed it. Repeat it for the hash that is stored now.
            found = await self._store.credentials_by_id(found.user.id)
            if found is not None and found.password_hash == stored:
                return found

    def _new_password(self, password: str) -> str:
        """Return the password in NFC. Raises InvalidPassword if it breaks the rules of
        `register`."""
        if len(normal := normal_password(password)) < MIN_PASSWORD:
            raise InvalidPassword(f"a password has at least {MIN_PASSWORD} characters")
        if self._refuse_common_passwords and is_common(normal):
            raise InvalidPassword("this password is one of the 10,000 most common; choose another")
        return normal

    def _credential_lock(self, user: User) -> asyncio.Lock:
        """Serialise changes to one user's credentials: hold it from the check to the write."""
        if (lock := self._credential_locks.get(user.id)) is None:
            lock = self._credential_locks[user.id] = asyncio.Lock()
        return lock

    async def _set_password(self, user: User, password_hash: str) -> int:
        with self.changes.changing(user.id):
            return await self._store.void_tokens(
                user.id, self._new_tokens_from(), password_hash=password_hash
            )

    def _new_tokens_from(self) -> int:
        """Return the time from which new tokens count. It lies in the future: until the store
        has the change, another node, whose clock may be ahead, still issues tokens that must
        become void."""
        # Added as microseconds: a clock in local time would add across a change of its offset.
        from_us = to_microseconds(self._clock()) + CLOCK_SKEW_MARGIN // timedelta(microseconds=1)
        return from_us // 1_000_000 * 1_000_000

    def _issue(self, user_id: int, tokens_from_us: int) -> str:
        # Just after a change, date the token to the time from which tokens count.
        return self._tokens.issue(user_id, max(self._clock(), from_microseconds(tokens_from_us)))


def normal_password(password: str) -> str:
    """Return the password in NFC. Raises InvalidPassword if it has a NUL, a lone surrogate, or
    more than 1,024 bytes of UTF-8, as given or in NFC."""
    # C libraries for hashing cut a password at its first NUL.
    if "\0" in password:
        raise InvalidPassword("a password has no NUL")
    # Checked before NFC, which is expensive on a huge text, and after it, as NFC can grow.
    for _ in range(2):
        if not is_encodable(password) or len(password.encode()) > MAX_PASSWORD_BYTES:
            raise InvalidPassword(f"a password has at most {MAX_PASSWORD_BYTES} bytes of UTF-8")
        password = unicodedata.normalize("NFC", password)
    return password
