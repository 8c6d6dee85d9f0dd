"""The ports of users: people, and the accounts of those who log in."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from chatcore.handles import Person
from chatcore.model import User
from chatcore.names import UserName
from chatcore.ports.sessions import SessionStore


@runtime_checkable
class Directory(Protocol):
    """Users by key and by id."""

    async def user_by_name(self, canonical: str) -> User | None:
        """Return the user with this key, or None. In the empty realm the key is the canonical name
        (`canonical_name`)."""
        ...

    async def user_by_id(self, user_id: int) -> User | None:
        """Return the user with this id, or None."""
        ...


@runtime_checkable
class Erasure(Protocol):
    """The end of a user, with an account or without."""

    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        """Erase the user, for good. The user keeps the id and the realm and gets the name and the
        handle of `tombstone`, so that others can tell whose messages they read. The password, the
        device sessions, the event log and the blocks, by the user and of the user, are deleted.
        Messages and chats stay; a chat of the user takes no new message, and no new chat with the
        user can be opened.

        The former key is never given again. Raises UserNotFound, also if the user was erased
        before, and NameTaken if a user of the realm has or ever had the tombstone's handle.
        """
        ...


class Put(NamedTuple):
    """A user as `People.put_users` left it."""

    user: User
    renamed: bool
    """Whether the call gave an existing user another name."""


@runtime_checkable
class People(Directory, Erasure, Protocol):
    """Users without accounts: a host adds its own users and renames them."""

    async def users_by_name(self, keys: Sequence[str]) -> Sequence[User]:
        """Return the users with these 1 to MAX_PAGE keys, in any order."""
        ...

    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        """Add each of 1 to MAX_PAGE people, whose keys differ, or rename the user with that key.
        Returns the users in the order of `people`. A user keeps the id. A changed name shows in
        every later result, in earlier chats, lists and events too.

        Of any number of simultaneous calls, all give one user for one key. Raises UserErased if a
        user with one of the keys was erased, and then adds and renames none.
        """
        ...


class Credentials(NamedTuple):
    """A user, and what the store keeps to authenticate the user."""

    user: User
    password_hash: str
    tokens_from_us: int = 0
    """Tokens issued before this time are void."""


@runtime_checkable
class CredentialStore(Protocol):
    """Users who log in with a password. Other users, such as a host's, have no credentials."""

    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        """Register a user under a name that no user has or ever had.

        Of any number of simultaneous calls with one canonical name, exactly one succeeds.
        Raises NameTaken if a user with that canonical name exists or was erased.
        """
        ...

    async def credentials(self, canonical: str) -> Credentials | None:
        """Return the credentials of the user with this canonical name; None if there is no such
        user, or the user has no account or was erased."""
        ...

    async def credentials_by_id(self, user_id: int) -> Credentials | None:
        """Return the credentials of the user with this id; None as for `credentials`."""
        ...

    async def replace_password_hash(self, user_id: int, old: str, new: str) -> None:
        """Replace the stored hash by `new` if it equals `old`; otherwise do nothing."""
        ...

    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        """Raise the user's `tokens_from_us` to `from_us`, or by a second if that is more: it
        grows with every call. In the same step, store the password hash, if given, and end all
        device sessions of the user.

        Returns the new `tokens_from_us`. Raises UserNotFound, also for an erased user and for one
        without an account.
        """
        ...


@runtime_checkable
class AccountStore(Directory, Erasure, CredentialStore, SessionStore, Protocol):
    """Everything that `Accounts` needs."""
