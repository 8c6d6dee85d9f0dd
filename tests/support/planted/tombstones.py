"""Stores that break one promise of erased users each, with the check that catches it."""

import asyncio
import contextlib
from collections.abc import Sequence

from chatcore import Chat, ChatSummary, NameTaken, NewMessage, Sent, User, UserNotFound
from chatcore.events import Cursor, Entry
from chatcore.names import UserName
from chatcore.ports import Credentials
from chatcore.testing import AccountStoreCheck, ErasureCheck, erasing, retiring
from chatcore_memory import MemoryStore
from tests.support.planted.blocks import HidesThatThereIsAChat, ignoring_blocks


class LeavesTheFormerName(MemoryStore):
    async def user_by_name(self, canonical: str) -> User | None:
        return self.contents.users.get(self.contents.ids_by_name.get(canonical, 0))


class LetsTombstonesLogIn(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        account = self.contents.accounts.get(user_id)
        await super().erase_user(user_id, tombstone, erased_us)
        if account:
            self.contents.accounts[user_id] = Credentials(self.contents.users[user_id], "")


class FoldsTombstones(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        await super().erase_user(user_id, UserName(tombstone.canonical), erased_us)


class FreesNames(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        await super().erase_user(user_id, tombstone, erased_us)
        for name in [name for name, its in self.contents.ids_by_name.items() if its == user_id]:
            if name != tombstone.canonical:
                del self.contents.ids_by_name[name]


class RetiresNamesAsTyped(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        former = self.contents.users[user_id].name if user_id in self.contents.users else ""
        await super().erase_user(user_id, tombstone, erased_us)
        del self.contents.ids_by_name[UserName(former).canonical]
        self.contents.ids_by_name[former] = user_id


class GivesIdsOfTheErased(MemoryStore):
    async def add_user(self, name: UserName, password_hash: str, registered_us: int) -> User:
        user = await super().add_user(name, password_hash, registered_us)
        return user._replace(id=len(self.contents.accounts))


class ErasesTwice(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        self.contents.erased.discard(user_id)
        await super().erase_user(user_id, tombstone, erased_us)


class BringsThemBack(MemoryStore):
    async def replace_password_hash(self, user_id: int, old: str, new: str) -> None:
        if old == "" and user_id in self.contents.users and user_id not in self.contents.accounts:
            self.contents.accounts[user_id] = Credentials(self.contents.users[user_id], new)
        await super().replace_password_hash(user_id, old, new)


class TakesAnyTombstone(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        if user_id in self.contents.accounts:
            self.contents.ids_by_name.pop(tombstone.canonical, None)
        await super().erase_user(user_id, tombstone, erased_us)


class ErasesBeforeItRefuses(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        if user_id in self.contents.accounts and tombstone.canonical in self.contents.ids_by_name:
            del self.contents.accounts[user_id]
            raise NameTaken
        await super().erase_user(user_id, tombstone, erased_us)


class RacesToErase(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        if user_id in self.contents.erased:
            raise UserNotFound
        await asyncio.sleep(0)
        self.contents.erased.discard(user_id)
        await super().erase_user(user_id, tombstone, erased_us)


class RacesForTombstones(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        if tombstone.canonical in self.contents.ids_by_name:
            raise NameTaken
        await asyncio.sleep(0)
        if user_id in self.contents.accounts:
            self.contents.ids_by_name.pop(tombstone.canonical, None)
        await super().erase_user(user_id, tombstone, erased_us)


class RetiresNamesLater(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        former = self.contents.users[user_id].name if user_id in self.contents.users else ""
        await super().erase_user(user_id, tombstone, erased_us)
        canonical = UserName(former).canonical
        del self.contents.ids_by_name[canonical]
        await asyncio.sleep(0)
        self.contents.ids_by_name[canonical] = user_id


class NamesChatsForEver(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        chats = {
            entry.chat.id: entry.chat for entry in self.contents.chats_by_user.get(user_id, ())
        }
        await super().erase_user(user_id, tombstone, erased_us)
        for chat_id, chat in chats.items():
            self.contents.chats[chat_id].chat = chat


class KeepsListsWithNames(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[tuple[int, int], Sequence[ChatSummary]] = {}

    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        page = await super().chats_of(user_id, before=before, limit=limit)
        kept = self._kept.get((user_id, limit))
        if kept and page and kept[0].activity == page[0].activity:
            return kept
        self._kept[user_id, limit] = page
        return page


class TellsEventsAsTheyWere(MemoryStore):
    def _with_current_names(self, entry: Entry) -> Entry:
        return entry


class FindsChatsByFormerNames(MemoryStore):
    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        peer_id = self.contents.ids_by_name.get(peer, 0)
        entry = self.contents.chats_by_pair.get((min(user_id, peer_id), max(user_id, peer_id)))
        return entry.chat if entry else None


class LetsPeersGoOn(MemoryStore):
    def _are_apart(self, lo: int, hi: int) -> bool:
        return hi in self.contents.blocks.get(lo, ()) or lo in self.contents.blocks.get(hi, ())


class ForgetsItsReplays(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        await super().erase_user(user_id, tombstone, erased_us)
        for entry in self.contents.chats_by_user[user_id]:
            entry.by_key.clear()


class HidesTheChatOfTheErased(HidesThatThereIsAChat):
    """The same fault, for the check of erasures."""


class KeepsTheLog(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        log = self.contents.logs.get(user_id)
        await super().erase_user(user_id, tombstone, erased_us)
        if log:
            self.contents.logs[user_id] = log


class KeepsTheEndOfTheLog(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        log = self.contents.logs.get(user_id)
        await super().erase_user(user_id, tombstone, erased_us)
        if log:
            log.entries.clear()
            self.contents.logs[user_id] = log


class KeepsBlocksAgainstThem(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        blocks = {by: set(peers) for by, peers in self.contents.blocks.items() if by != user_id}
        await super().erase_user(user_id, tombstone, erased_us)
        self.contents.blocks |= blocks


class BlocksTheErased(MemoryStore):
    async def block(self, user_id: int, peer_id: int, blocked_us: int) -> None:
        with contextlib.suppress(UserNotFound):
            await super().block(user_id, peer_id, blocked_us)


class ErasesInTwoSteps(MemoryStore):
    """Store a message that was checked before the erasure."""

    async def append_message(self, new: NewMessage) -> Sent:
        apart = self._are_apart(*(user.id for user in self.contents.chats[new.chat_id].chat.users))
        for _ in range(3):
            await asyncio.sleep(0)
        with contextlib.nullcontext() if apart else ignoring_blocks(self):
            return await super().append_message(new)


class OpensWhatWasOnItsWay(MemoryStore):
    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        apart = self._are_apart(user_id, peer_id)
        for _ in range(3):
            await asyncio.sleep(0)
        with contextlib.nullcontext() if apart else ignoring_blocks(self):
            return await super().open_chat(user_id, peer_id, opened_us)


class ForgetsCursors(MemoryStore):
    """Report an emptied log as a log without events."""

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        found = await super().events_after(after, limit=limit)
        erased = (
            after.user_id in self.contents.users and after.user_id not in self.contents.accounts
        )
        return [] if erased else found


ACCOUNT_FAULTS: dict[type[MemoryStore], AccountStoreCheck] = {
    LeavesTheFormerName: retiring.an_erased_user_gets_the_tombstone_name,
    LetsTombstonesLogIn: retiring.an_erased_user_gets_the_tombstone_name,
    FoldsTombstones: retiring.an_erased_user_gets_the_tombstone_name,
    FreesNames: retiring.a_name_is_never_given_again,
    RetiresNamesAsTyped: retiring.a_name_is_never_given_again,
    GivesIdsOfTheErased: retiring.a_name_is_never_given_again,
    ErasesTwice: retiring.an_erased_user_has_no_account,
    BringsThemBack: retiring.an_erased_user_has_no_account,
    TakesAnyTombstone: retiring.a_taken_tombstone_is_refused,
    ErasesBeforeItRefuses: retiring.a_taken_tombstone_is_refused,
    RacesToErase: retiring.of_simultaneous_erasures_one_succeeds,
    RacesForTombstones: retiring.of_simultaneous_erasures_one_succeeds,
    RetiresNamesLater: retiring.a_name_is_not_free_during_its_erasure,
}

FAULTS: dict[type[MemoryStore], ErasureCheck] = {
    NamesChatsForEver: erasing.an_erased_name_appears_nowhere,
    KeepsListsWithNames: erasing.an_erased_name_appears_nowhere,
    TellsEventsAsTheyWere: erasing.an_erased_name_appears_nowhere,
    FindsChatsByFormerNames: erasing.an_erased_name_appears_nowhere,
    LetsPeersGoOn: erasing.chats_of_an_erased_user_are_closed,
    ForgetsItsReplays: erasing.chats_of_an_erased_user_are_closed,
    HidesTheChatOfTheErased: erasing.chats_of_an_erased_user_are_closed,
    KeepsTheLog: erasing.an_erased_user_has_no_log_and_no_blocks,
    KeepsTheEndOfTheLog: erasing.an_erased_user_has_no_log_and_no_blocks,
    KeepsBlocksAgainstThem: erasing.an_erased_user_has_no_log_and_no_blocks,
    BlocksTheErased: erasing.an_erased_user_has_no_log_and_no_blocks,
    ForgetsCursors: erasing.an_erased_user_has_no_log_and_no_blocks,
    ErasesInTwoSteps: erasing.nothing_arrives_after_an_erasure,
    OpensWhatWasOnItsWay: erasing.nothing_arrives_after_an_erasure,
}
