"""The names of the users, who are renamed at any time, and which of them a client may still see."""

import math
from collections.abc import Sequence

from chatcore import Chat, MarkerMoved, Person, User
from chatcore.events import Entry
from chatcore.ports import Put
from chatcore_memory import MemoryStore
from tests.unit.simulation.virtual import run_now

REALM, OTHER_REALM = "shop", "club"
"""The realm of the users, and one whose users have the same handles."""


class Names:
    """All names that each user had, in order."""

    def __init__(self, store: MemoryStore, handles: Sequence[str]) -> None:
        self._store = store
        both = [
            run_now(store.put_users([Person(realm, it, it) for it in handles], 0))
            for realm in (REALM, OTHER_REALM)
        ]
        self.users, self._twins = ([put.user for put in puts] for puts in both)
        self._names: dict[int, list[str]] = {user.id: [user.name] for user in self.users}
        self._known_since: dict[str, float] = {}
        """By name: when a client learned that it was given."""
        self._count = 0

    def new(self, user: User) -> str:
        """Return a name that no user ever had."""
        self._count += 1
        return f"{user.handle} {self._count}"

    def put(self, puts: Sequence[Put]) -> None:
        """Record what the store has just done."""
        for put in puts:
            if put.renamed:
                self._names[put.user.id].append(put.user.name)

    def acknowledge(self, name: str, at: float) -> None:
        """Record that a client learned at this time that the name was given."""
        self._known_since.setdefault(name, at)

    def are_current(self, chat: Chat, since: float) -> bool:
        """Whether a reader who began at `since` may see the chat's names."""
        return all(self._is_current(user, since) for user in chat.users)

    def twins_are_unchanged(self) -> bool:
        """Whether the users of the other realm have their first names."""
        stored = [run_now(self._store.user_by_id(twin.id)) for twin in self._twins]
        return stored == self._twins

    def _is_current(self, user: User, since: float) -> bool:
        names = self._names[user.id]
        if user.name not in names:
            return False
        later = names[names.index(user.name) + 1 :]
        return all(self._known_since.get(name, math.inf) >= since for name in later)


def nameless(entry: Entry) -> Entry:
    """Return the entry without the names of its users."""
    first, second = entry.chat.users
    users = first._replace(name=""), second._replace(name="")
    entry = entry._replace(chat=Chat(entry.chat.id, users))
    if isinstance(entry, MarkerMoved):
        return entry._replace(reader=entry.reader._replace(name=""))
    return entry


def same(one: Entry, other: Entry) -> bool:
    """Whether the entries are equal but for the names."""
    return nameless(one) == nameless(other)
