"""People without accounts: the users of a host, which has a table of users of its own."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from chatcore.changes import Changes
from chatcore.errors import NameTaken, UserNotFound
from chatcore.handles import Person, check_realm
from chatcore.model import Clock, User, to_microseconds
from chatcore.names import UserName
from chatcore.ports import MAX_PAGE, ChatStore, Erasure, People


class HostUsers:
    """Adds, renames and erases the users of one realm, and announces each that changed."""

    def __init__(self, store: ChatStore, realm: str, clock: Clock, changes: Changes) -> None:
        check_realm(realm)
        if realm and getattr(store, "put_users", None) is None:
            raise TypeError("a realm needs a store with the methods of `chatcore.ports.People`")
        # Without a realm every method raises ValueError before it needs more than a Directory.
        self._store = cast(People, store)
        self._realm = realm
        self._clock = clock
        self._changes = changes

    async def put(self, handle: str, name: str) -> User:
        """Add the user, or rename it if the name differs. Raises as `Messenger.user` does."""
        person = Person(self._realm, handle, name)
        known = await self._store.user_by_name(person.key)
        if known is not None and known.name == name:
            return known
        [user] = await self._put([person], [known] if known else [])
        return user

    async def put_all(self, names: Mapping[str, str]) -> dict[str, User]:
        """Add or rename all users, by handle, in atomic pieces of 500."""
        people = [Person(self._realm, handle, name) for handle, name in names.items()]
        users: dict[str, User] = {}
        for start in range(0, len(people), MAX_PAGE):
            piece = people[start : start + MAX_PAGE]
            known = await self._store.users_by_name([person.key for person in piece])
            found = {user.handle: user for user in known}
            stale = [
                person
                for person in piece
                if person.handle not in found or found[person.handle].name != person.name
            ]
            if stale:
                renamed = [found[it.handle] for it in stale if it.handle in found]
                put = await self._put(stale, renamed)
                found |= {user.handle: user for user in put}
            users |= {person.handle: found[person.handle] for person in piece}
        return users

    async def erase(self, user: User) -> User:
        """Erase the user, for good, as `Messenger.erase` promises."""
        # A caller can build any User; the store knows the realm of its id.
        stored = await self._store.user_by_id(user.id)
        if stored is None:
            raise UserNotFound
        if not self._realm or stored.realm != self._realm:
            raise ValueError("not a user of this realm; erase an account with `Accounts.erase`")
        return await erase(self._store, self._changes, stored, self._clock)

    async def _put(self, people: Sequence[Person], renamed: Iterable[User]) -> list[User]:
        """Write the users. `renamed` are those known to get another name."""
        changed = {user.id for user in renamed}
        try:
            put = await self._store.put_users(people, to_microseconds(self._clock()))
            # Another caller may have added the user since it was looked up.
            changed |= {it.user.id for it in put if it.renamed}
        finally:
            # Also after an unknown outcome.
            for user_id in changed:
                self._changes.announce(user_id, renamed=True)
        return [it.user for it in put]


async def erase(store: Erasure, changes: Changes, user: User, clock: Clock) -> User:
    """Erase the user and return the tombstone: "deleted user" and eight random hexadecimal digits,
    as handle and name. No host can give this handle, for it has spaces. Raises UserNotFound."""
    while True:
        tombstone = UserName(f"deleted user {secrets.token_hex(4)}")
        try:
            with changes.changing(user.id):
                await store.erase_user(user.id, tombstone, to_microseconds(clock()))
        except NameTaken:
            continue
        return User(user.id, tombstone.canonical, tombstone.typed, user.realm)
