"""Stores of chats that break one promise each, with the check that catches it."""

import asyncio
from collections.abc import Sequence

from chatcore import Chat, ChatExists, ChatSummary, NewMessage, SelfChat, Sent, UserNotFound
from chatcore.testing import ChatStoreCheck, chats
from chatcore_memory import MemoryStore


class OrdersUsersAsOpened(MemoryStore):
    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        chat = await super().open_chat(user_id, peer_id, opened_us)
        users = self.contents.accounts[user_id].user, self.contents.accounts[peer_id].user
        self.contents.chats[chat.id].chat = Chat(chat.id, users)
        return self.contents.chats[chat.id].chat


class OpensOneChatPerSide(MemoryStore):
    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        if user_id > peer_id:
            self.contents.chats_by_pair.pop((peer_id, user_id), None)
        return await super().open_chat(user_id, peer_id, opened_us)


class RacesForPairs(MemoryStore):
    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        pair = min(user_id, peer_id), max(user_id, peer_id)
        if pair in self.contents.chats_by_pair:
            raise ChatExists
        await asyncio.sleep(0)
        self.contents.chats_by_pair.pop(pair, None)
        return await super().open_chat(user_id, peer_id, opened_us)


class AllowsSoliloquies(MemoryStore):
    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        try:
            return await super().open_chat(user_id, peer_id, opened_us)
        except SelfChat:
            user = self.contents.accounts[user_id].user
            return Chat(len(self.contents.chats) + 1, (user, user))


class TakesStrangersForPeers(MemoryStore):
    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        try:
            return await super().open_chat(user_id, peer_id, opened_us)
        except UserNotFound:
            raise ChatExists from None


class FindsChatsOfOthers(MemoryStore):
    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        peer_id = self.contents.ids_by_name.get(peer, 0)
        return next((entry.chat for entry in self.contents.chats_by_user.get(peer_id, ())), None)


class ListsEveryChat(MemoryStore):
    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        page = [entry.summary() for entry in self.contents.chats.values()]
        return sorted(page, key=lambda summary: summary.activity, reverse=True)[:limit]


class OpensChatsAtTheBottom(MemoryStore):
    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        chat = await super().open_chat(user_id, peer_id, opened_us)
        self.contents.chats[chat.id].activity = -chat.id
        return chat


class LeavesChatsWhereTheyAre(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        entry = self.contents.chats.get(new.chat_id)
        activity = entry.activity if entry else 0
        sent = await super().append_message(new)
        self.contents.chats[new.chat_id].activity = activity
        return sent


class CountsNoMessages(MemoryStore):
    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        page = await super().chats_of(user_id, before=before, limit=limit)
        return [summary._replace(last_seq=0) for summary in page]


class ListsTheCursorAgain(MemoryStore):
    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        inclusive = None if before is None else before + 1
        return await super().chats_of(user_id, before=inclusive, limit=limit)


class ListsOneChatTooMany(MemoryStore):
    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        return await super().chats_of(user_id, before=before, limit=limit + 1)


class RacesForActivity(MemoryStore):
    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        activity = self.contents.activity + 1
        await asyncio.sleep(0)
        chat = await super().open_chat(user_id, peer_id, opened_us)
        self.contents.chats[chat.id].activity = activity
        return chat


FAULTS: dict[type[MemoryStore], ChatStoreCheck] = {
    OrdersUsersAsOpened: chats.a_chat_is_the_same_from_both_sides,
    OpensOneChatPerSide: chats.a_pair_has_one_chat,
    RacesForPairs: chats.of_simultaneous_openings_one_succeeds,
    AllowsSoliloquies: chats.a_chat_with_oneself_is_refused,
    TakesStrangersForPeers: chats.a_chat_with_an_unknown_user_is_refused,
    FindsChatsOfOthers: chats.unknown_chats_are_none,
    ListsEveryChat: chats.users_see_their_own_chats_alone,
    OpensChatsAtTheBottom: chats.an_active_chat_is_listed_first,
    LeavesChatsWhereTheyAre: chats.an_active_chat_is_listed_first,
    CountsNoMessages: chats.summaries_have_the_newest_number,
    ListsTheCursorAgain: chats.pages_of_chats_are_exclusive,
    ListsOneChatTooMany: chats.pages_of_chats_are_exclusive,
    RacesForActivity: chats.simultaneous_openings_are_each_listed_once,
}
