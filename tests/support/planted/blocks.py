"""Stores that break one promise of blocks each, with the check that catches it."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from chatcore import Chat, ChatExists, ChatNotFound, NewMessage, SelfChat, Sent, User, UserNotFound
from chatcore.errors import KeyReused
from chatcore.events import MarkerMoved
from chatcore.testing import ChatStoreCheck, blocking
from chatcore_memory import MemoryStore


@contextlib.contextmanager
def ignoring_blocks(store: MemoryStore) -> Iterator[None]:
    vars(store)["_are_apart"] = lambda *_: False
    try:
        yield
    finally:
        del vars(store)["_are_apart"]


class LetsTheBlockerSend(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        if self.contents.blocks.get(new.sender_id):
            with ignoring_blocks(self):
                return await super().append_message(new)
        return await super().append_message(new)


class LetsTheBlockedSend(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        if not self.contents.blocks.get(new.sender_id):
            with ignoring_blocks(self):
                return await super().append_message(new)
        return await super().append_message(new)


class CutsThemOffFromEverybody(MemoryStore):
    def _are_apart(self, lo: int, hi: int) -> bool:
        return any(self.contents.blocks.values())


class LogsBeforeItRefuses(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        entry = self.contents.chats.get(new.chat_id)
        if entry and self._are_apart(*(user.id for user in entry.chat.users)):
            entry.activity = self._next_activity()
        return await super().append_message(new)


class HidesClosedChats(MemoryStore):
    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        chat = await super().chat_with(user_id, peer)
        return None if chat and self._are_apart(*(user.id for user in chat.users)) else chat


class RefusesReplays(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        entry = self.contents.chats.get(new.chat_id)
        if entry and self._are_apart(*(user.id for user in entry.chat.users)):
            raise ChatNotFound
        return await super().append_message(new)


class RefusesReplaysOfAnotherText(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        try:
            return await super().append_message(new)
        except KeyReused:
            if any(self.contents.blocks.values()):
                raise ChatNotFound from None
            raise


class OpensForTheBlocker(MemoryStore):
    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        if peer_id in self.contents.blocks.get(user_id, ()) and user_id != peer_id:
            with ignoring_blocks(self):
                return await super().open_chat(user_id, peer_id, opened_us)
        return await super().open_chat(user_id, peer_id, opened_us)


class HidesThatThereIsAChat(MemoryStore):
    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        try:
            return await super().open_chat(user_id, peer_id, opened_us)
        except ChatExists:
            if self._are_apart(user_id, peer_id):
                raise UserNotFound from None
            raise


class CountsBlocks(MemoryStore):
    """Count blocks: each must be taken back once."""

    def __init__(self) -> None:
        super().__init__()
        self._times: dict[tuple[int, int], int] = {}

    async def block(self, user_id: int, peer_id: int, blocked_us: int) -> None:
        await super().block(user_id, peer_id, blocked_us)
        self._times[user_id, peer_id] = self._times.get((user_id, peer_id), 0) + 1

    async def unblock(self, user_id: int, peer_id: int) -> None:
        self._times[user_id, peer_id] = self._times.get((user_id, peer_id), 1) - 1
        if self._times[user_id, peer_id] == 0:
            await super().unblock(user_id, peer_id)


class UnblocksBothSides(MemoryStore):
    async def unblock(self, user_id: int, peer_id: int) -> None:
        await super().unblock(user_id, peer_id)
        await super().unblock(peer_id, user_id)


class TellsOfMarkers(MemoryStore):
    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        with ignoring_blocks(self):
            return await super().move_read_marker(chat_id, user_id, seq, moved_us)


class ShowsMarkersAsTheyAre(MemoryStore):
    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        marker = await super().move_read_marker(chat_id, user_id, seq, moved_us)
        self.contents.chats[chat_id].shown[user_id] = marker
        return marker


class LogsMarkersForNobody(MemoryStore):
    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        marker = await super().move_read_marker(chat_id, user_id, seq, moved_us)
        entries = self.contents.logs[user_id].entries
        if (
            any(self.contents.blocks.values())
            and entries
            and isinstance(entries[-1][1], MarkerMoved)
        ):
            entries.pop()
            self.contents.logs[user_id].end = self.contents.logs[user_id].end._replace(
                n=self.contents.logs[user_id].end.n - 1
            )
        return marker


class TellsOfMarkersAfterwards(MemoryStore):
    async def unblock(self, user_id: int, peer_id: int) -> None:
        await super().unblock(user_id, peer_id)
        for entry in self.contents.chats.values():
            entry.shown |= entry.read


class ListsWhoBlocksThem(MemoryStore):
    async def blocked_by(self, user_id: int, *, after: int, limit: int) -> Sequence[User]:
        return [
            self.contents.users[by]
            for by, peers in self.contents.blocks.items()
            if user_id in peers
        ]


class ListsBlocksByTime(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._order: list[int] = []

    async def block(self, user_id: int, peer_id: int, blocked_us: int) -> None:
        await super().block(user_id, peer_id, blocked_us)
        self._order.append(peer_id)

    async def blocked_by(self, user_id: int, *, after: int, limit: int) -> Sequence[User]:
        page = await super().blocked_by(user_id, after=after, limit=limit)
        return sorted(page, key=lambda user: self._order.index(user.id))


class ListsTheLastBlockAgain(MemoryStore):
    async def blocked_by(self, user_id: int, *, after: int, limit: int) -> Sequence[User]:
        return await super().blocked_by(user_id, after=after - 1, limit=limit)


class BlocksAnybody(MemoryStore):
    async def block(self, user_id: int, peer_id: int, blocked_us: int) -> None:
        with contextlib.suppress(UserNotFound):
            await super().block(user_id, peer_id, blocked_us)


class BlocksOneself(MemoryStore):
    async def block(self, user_id: int, peer_id: int, blocked_us: int) -> None:
        with contextlib.suppress(SelfChat):
            await super().block(user_id, peer_id, blocked_us)


class RefusesToUnblockNobody(MemoryStore):
    async def unblock(self, user_id: int, peer_id: int) -> None:
        if user_id not in self.contents.users or peer_id not in self.contents.users:
            raise UserNotFound
        await super().unblock(user_id, peer_id)


class SendsWhatWasOnItsWay(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        entry = self.contents.chats.get(new.chat_id)
        apart = entry is None or self._are_apart(*(user.id for user in entry.chat.users))
        for _ in range(4):
            await asyncio.sleep(0)
        with contextlib.nullcontext() if apart else ignoring_blocks(self):
            return await super().append_message(new)


class BlocksInAStepOfItsOwn(MemoryStore):
    """Write the block list first, and close the chats that exist by then in a second step."""

    def __init__(self) -> None:
        super().__init__()
        self._closed: set[tuple[int, int]] = set()

    async def block(self, user_id: int, peer_id: int, blocked_us: int) -> None:
        there = self._pair(user_id, peer_id) in self.contents.chats_by_pair
        await asyncio.sleep(0)
        await super().block(user_id, peer_id, blocked_us)
        if there or self._pair(user_id, peer_id) not in self.contents.chats_by_pair:
            self._closed.add((user_id, peer_id))

    async def unblock(self, user_id: int, peer_id: int) -> None:
        await super().unblock(user_id, peer_id)
        self._closed.discard((user_id, peer_id))

    def _are_apart(self, lo: int, hi: int) -> bool:
        return not self._closed.isdisjoint({(lo, hi), (hi, lo)})

    def _pair(self, user_id: int, peer_id: int) -> tuple[int, int]:
        return min(user_id, peer_id), max(user_id, peer_id)


FAULTS: dict[type[MemoryStore], ChatStoreCheck] = {
    LetsTheBlockerSend: blocking.nothing_is_sent_while_one_blocks,
    LetsTheBlockedSend: blocking.nothing_is_sent_while_one_blocks,
    CutsThemOffFromEverybody: blocking.nothing_is_sent_while_one_blocks,
    LogsBeforeItRefuses: blocking.nothing_is_sent_while_one_blocks,
    HidesClosedChats: blocking.nothing_is_sent_while_one_blocks,
    RefusesReplays: blocking.replays_are_answered_while_one_blocks,
    RefusesReplaysOfAnotherText: blocking.replays_are_answered_while_one_blocks,
    OpensForTheBlocker: blocking.no_chat_is_opened_while_one_blocks,
    HidesThatThereIsAChat: blocking.no_chat_is_opened_while_one_blocks,
    CountsBlocks: blocking.a_chat_is_closed_until_both_blocks_end,
    UnblocksBothSides: blocking.a_chat_is_closed_until_both_blocks_end,
    TellsOfMarkers: blocking.markers_are_hidden_from_the_peer_while_one_blocks,
    ShowsMarkersAsTheyAre: blocking.markers_are_hidden_from_the_peer_while_one_blocks,
    LogsMarkersForNobody: blocking.markers_are_hidden_from_the_peer_while_one_blocks,
    TellsOfMarkersAfterwards: blocking.markers_are_hidden_from_the_peer_while_one_blocks,
    ListsWhoBlocksThem: blocking.users_list_their_blocks,
    ListsBlocksByTime: blocking.users_list_their_blocks,
    ListsTheLastBlockAgain: blocking.users_list_their_blocks,
    BlocksAnybody: blocking.block_refuses_oneself_and_unknown_users,
    BlocksOneself: blocking.block_refuses_oneself_and_unknown_users,
    RefusesToUnblockNobody: blocking.block_refuses_oneself_and_unknown_users,
    SendsWhatWasOnItsWay: blocking.nothing_arrives_after_a_block,
    BlocksInAStepOfItsOwn: blocking.simultaneous_blocks_and_openings_agree,
}
