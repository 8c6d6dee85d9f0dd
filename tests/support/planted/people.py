"""Stores of people that break one promise each, with the check that catches it."""

import asyncio
from collections.abc import Sequence

from chatcore import ChatSummary, Person, User, UserErased, UserName
from chatcore.ports import Put
from chatcore.testing import PeopleCheck, RealmCheck, RenamingCheck, people
from chatcore_memory import MemoryStore


class FoldsHandles(MemoryStore):
    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        folded = [Person(it.realm, it.handle.casefold(), it.name) for it in people]
        return await super().put_users(folded, put_us)


class TrimsNames(MemoryStore):
    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        trimmed = [Person(it.realm, it.handle, " ".join(it.name.split())) for it in people]
        return await super().put_users(trimmed, put_us)


class JoinsRealms(MemoryStore):
    """Keep the handle of every realm in one place."""

    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        for person in people:
            for user in self.contents.users.values():
                if user.handle == person.handle and user.realm != person.realm:
                    self.contents.ids_by_name[person.key] = user.id
        return await super().put_users(people, put_us)


class FindsPrefixes(MemoryStore):
    async def users_by_name(self, keys: Sequence[str]) -> Sequence[User]:
        users = self.contents.users.values()
        return [user for user in users if any(key.startswith(user.key) for key in keys)]


class AlwaysRenames(MemoryStore):
    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        return [Put(it.user, renamed=True) for it in await super().put_users(people, put_us)]


class RenamesTheNameTwin(MemoryStore):
    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        names = {it.id: it.name for it in self.contents.users.values()}
        puts = await super().put_users(people, put_us)
        for put in puts:
            if put.renamed:
                for user_id, name in names.items():
                    if name == names[put.user.id]:
                        self._renamed(user_id, put.user.name)
        return puts


class AnswersInOrderOfIds(MemoryStore):
    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        return sorted(await super().put_users(people, put_us), key=lambda it: it.user.id)


class FindsAHundred(MemoryStore):
    async def users_by_name(self, keys: Sequence[str]) -> Sequence[User]:
        return await super().users_by_name(keys[:100])


class RacesToAdd(MemoryStore):
    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        new = [it.key for it in people if it.key not in self.contents.ids_by_name]
        await asyncio.sleep(0)
        for key in new:
            self.contents.ids_by_name.pop(key, None)
        return await super().put_users(people, put_us)


class RenamesInEveryRealm(MemoryStore):
    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        puts = await super().put_users(people, put_us)
        for put in puts:
            for twin in list(self.contents.users.values()):
                if put.renamed and twin.handle == put.user.handle:
                    self._renamed(twin.id, put.user.name)
        return puts


class GivesHandlesAgain(MemoryStore):
    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        for person in people:
            if self.contents.ids_by_name.get(person.key) in self.contents.erased:
                del self.contents.ids_by_name[person.key]
        return await super().put_users(people, put_us)


class AddsBeforeItRefuses(MemoryStore):
    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        puts: list[Put] = []
        for person in people:
            puts += await super().put_users([person], put_us)
        return puts


class LeavesTheRealm(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        await super().erase_user(user_id, tombstone, erased_us)
        erased = self.contents.users[user_id]
        self.contents.ids_by_name[tombstone.canonical] = user_id
        self.contents.users[user_id] = erased._replace(realm="")


class RenamesTheErased(MemoryStore):
    """Look the user up in a step of its own, before the write."""

    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        known = [await self.user_by_name(it.key) for it in people]
        await asyncio.sleep(0)
        try:
            return await super().put_users(people, put_us)
        except UserErased:
            if None in known:
                raise
            return [
                self._renamed(user.id, person.name)
                for user, person in zip(known, people, strict=True)
                if user is not None
            ]


class PutsOneByOne(MemoryStore):
    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        puts: list[Put] = []
        for person in people:
            puts += await super().put_users([person], put_us)
            await asyncio.sleep(0)
        return puts


class KeepsNamesInChats(MemoryStore):
    def _renamed(self, user_id: int, name: str) -> Put:
        records = [*self.contents.chats_by_user[user_id]]
        chats = [record.chat for record in records]
        put = super()._renamed(user_id, name)
        for record, chat in zip(records, chats, strict=True):
            record.chat = chat
        return put


class KeepsNamesInLists(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[tuple[int, int], Sequence[ChatSummary]] = {}

    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        page = await super().chats_of(user_id, before=before, limit=limit)
        return self._kept.setdefault((user_id, limit), page)


class TakesAccountsForItsOwn(MemoryStore):
    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        for person in people:
            if account := self.contents.ids_by_name.get(person.handle):
                self.contents.ids_by_name[person.key] = account
        return await super().put_users(people, put_us)


FAULTS: dict[type[MemoryStore], PeopleCheck] = {
    FoldsHandles: people.people_are_kept_exactly,
    TrimsNames: people.people_are_kept_exactly,
    JoinsRealms: people.realms_are_apart,
    FindsPrefixes: people.realms_are_apart,
    AlwaysRenames: people.an_upsert_is_idempotent,
    RenamesTheNameTwin: people.an_upsert_is_idempotent,
    AnswersInOrderOfIds: people.a_piece_is_put_in_one_step,
    FindsAHundred: people.a_piece_is_put_in_one_step,
    RacesToAdd: people.simultaneous_upserts_give_one_user,
    RenamesInEveryRealm: people.realms_are_apart,
    GivesHandlesAgain: people.an_erased_handle_stays_retired,
    AddsBeforeItRefuses: people.an_erased_handle_stays_retired,
    LeavesTheRealm: people.an_erased_handle_stays_retired,
    RenamesTheErased: people.simultaneous_upserts_and_erasures_agree,
    PutsOneByOne: people.a_cancelled_upsert_is_whole,
}
RENAMING_FAULTS: dict[type[MemoryStore], RenamingCheck] = {
    KeepsNamesInChats: people.a_rename_shows_everywhere,
    KeepsNamesInLists: people.a_rename_shows_everywhere,
}
REALM_FAULTS: dict[type[MemoryStore], RealmCheck] = {
    TakesAccountsForItsOwn: people.an_upsert_never_reaches_an_account,
}
