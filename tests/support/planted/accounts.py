"""Stores of accounts that break one promise each, with the check that catches it."""

import asyncio
import unicodedata
from fnmatch import fnmatch

from chatcore import NameTaken, User, UserName
from chatcore.ports import Credentials
from chatcore.testing import AccountStoreCheck, accounts
from chatcore_memory import MemoryStore


class AnswersWithTheNextId(MemoryStore):
    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        user = await super().add_user(name, password_hash, registered_us)
        return user._replace(id=user.id + 1)


class FoldsNames(MemoryStore):
    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        return await super().add_user(UserName(name.canonical), password_hash, registered_us)


class IgnoresAccents(MemoryStore):
    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        plain = _without_accents(name.canonical)
        if any(plain == _without_accents(other) for other in self.contents.ids_by_name):
            raise NameTaken
        return await super().add_user(name, password_hash, registered_us)


def _without_accents(name: str) -> str:
    decomposed = unicodedata.normalize("NFD", name)
    return "".join(it for it in decomposed if unicodedata.category(it) != "Mn")


class FindsNamesByPattern(MemoryStore):
    async def credentials(self, canonical: str) -> Credentials | None:
        pattern = canonical.replace("%", "*").replace("_", "?")
        for name, user_id in self.contents.ids_by_name.items():
            if fnmatch(name, pattern):
                return self.contents.accounts[user_id]
        return None


class GivesIdsTwice(MemoryStore):
    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        next_id = len(self.contents.accounts) + 1
        await asyncio.sleep(0)
        user = await super().add_user(name, password_hash, registered_us)
        return user._replace(id=next_id)


class RefusesAndOverwrites(MemoryStore):
    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        if found := await self.credentials(name.canonical):
            await self.replace_password_hash(found.user.id, found.password_hash, new=password_hash)
        return await super().add_user(name, password_hash, registered_us)


class RacesForNames(MemoryStore):
    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        if name.canonical in self.contents.ids_by_name:
            raise NameTaken
        await asyncio.sleep(0)
        self.contents.ids_by_name.pop(name.canonical, None)
        return await super().add_user(name, password_hash, registered_us)


class CutsHashes(MemoryStore):
    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        return await super().add_user(name, password_hash[:255], registered_us)


class ReplacesAnyHash(MemoryStore):
    async def replace_password_hash(self, user_id: int, old: str, new: str) -> None:
        if account := self.contents.accounts.get(user_id):
            self.contents.accounts[user_id] = account._replace(password_hash=new)


class ReservesNames(MemoryStore):
    """Reserve the name in a step of its own, which survives a cancellation."""

    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        if name.canonical in self.contents.ids_by_name:
            raise NameTaken
        self.contents.ids_by_name[name.canonical] = 0
        await asyncio.sleep(0)
        del self.contents.ids_by_name[name.canonical]
        return await super().add_user(name, password_hash, registered_us)


FAULTS: dict[type[MemoryStore], AccountStoreCheck] = {
    AnswersWithTheNextId: accounts.users_are_found_by_name_and_id,
    FoldsNames: accounts.names_are_kept_as_typed,
    IgnoresAccents: accounts.names_are_compared_exactly,
    FindsNamesByPattern: accounts.unknown_users_are_none,
    GivesIdsTwice: accounts.user_ids_are_positive_and_distinct,
    RefusesAndOverwrites: accounts.a_taken_name_is_refused,
    RacesForNames: accounts.of_simultaneous_registrations_one_succeeds,
    CutsHashes: accounts.credentials_are_kept_exactly,
    ReplacesAnyHash: accounts.a_password_hash_is_replaced_only_if_it_is_the_old_one,
    ReservesNames: accounts.cancelled_registrations_are_whole,
}
