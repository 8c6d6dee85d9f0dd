"""Stores whose read markers and states break one promise each, with the check that catches it."""

import asyncio
from collections.abc import Sequence

from chatcore import Chat, ChatNotFound, ChatState, NewMessage, Sent
from chatcore.testing import ChatStoreCheck, states
from chatcore_memory import MemoryStore
from chatcore_memory.contents import ChatRecord


class MovesMarkersBack(MemoryStore):
    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        if entry := self.contents.chats.get(chat_id):
            entry.read.pop(user_id, None)
        return await super().move_read_marker(chat_id, user_id, seq, moved_us)


class AnswersWithWhatWasAsked(MemoryStore):
    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        await super().move_read_marker(chat_id, user_id, seq, moved_us)
        return seq


class ReadsAhead(MemoryStore):
    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        await super().move_read_marker(chat_id, user_id, seq, moved_us)
        read = self.contents.chats[chat_id].read
        read[user_id] = max(read.get(user_id, 0), seq)
        return read[user_id]


class ReadsWhatOneWrites(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        self.contents.chats[new.chat_id].read[new.sender_id] = sent.message.seq
        return sent


class MarksEveryChat(MemoryStore):
    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        marker = await super().move_read_marker(chat_id, user_id, seq, moved_us)
        for entry in self.contents.chats_by_user[user_id]:
            entry.read[user_id] = min(marker, len(entry.messages))
        return marker


class MarksForBoth(MemoryStore):
    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        marker = await super().move_read_marker(chat_id, user_id, seq, moved_us)
        self.contents.chats[chat_id].read |= {
            user.id: marker for user in self.contents.chats[chat_id].chat.users
        }
        return marker


class LetsStrangersMark(MemoryStore):
    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        try:
            return await super().move_read_marker(chat_id, user_id, seq, moved_us)
        except ChatNotFound:
            return 0


class ShowsStrangersTheChat(MemoryStore):
    async def chat_state(self, user_id: int, chat_id: int) -> ChatState | None:
        entry = self.contents.chats.get(chat_id)
        return entry.state(user_id) if entry else None


class CountsOwnMessages(MemoryStore):
    async def chat_state(self, user_id: int, chat_id: int) -> ChatState | None:
        state = await super().chat_state(user_id, chat_id)
        last = len(self._messages_of(chat_id))
        return state and state._replace(unread=last - state.read_seq)


class CountsOwnMessagesInLists(MemoryStore):
    async def chat_states(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatState]:
        page = await super().chat_states(user_id, before=before, limit=limit)
        return [
            it._replace(unread=it.last_message.seq - it.read_seq if it.last_message else 0)
            for it in page
        ]


class KeepsACounter(MemoryStore):
    """Store the unread count: raise it with each message, reset it with each move of the marker."""

    def __init__(self) -> None:
        super().__init__()
        self._unread: dict[tuple[int, int], int] = {}

    async def append_message(self, new: NewMessage) -> Sent:
        sent = await super().append_message(new)
        for user in self.contents.chats[new.chat_id].chat.users:
            place = new.chat_id, user.id
            self._unread[place] = self._unread.get(place, 0) + (user.id != new.sender_id)
        return sent

    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        self._unread[chat_id, user_id] = 0
        return await super().move_read_marker(chat_id, user_id, seq, moved_us)

    async def chat_state(self, user_id: int, chat_id: int) -> ChatState | None:
        state = await super().chat_state(user_id, chat_id)
        return state and self._counted(user_id, state)

    async def chat_states(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatState]:
        page = await super().chat_states(user_id, before=before, limit=limit)
        return [self._counted(user_id, state) for state in page]

    def _counted(self, user_id: int, state: ChatState) -> ChatState:
        return state._replace(unread=self._unread.get((state.chat.id, user_id), 0))


class ListsStatesByChat(MemoryStore):
    async def chat_states(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatState]:
        page = await super().chat_states(user_id, before=before, limit=limit)
        return sorted(page, key=lambda state: state.chat.id)


class ListsTheCursorsState(MemoryStore):
    async def chat_states(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatState]:
        inclusive = None if before is None else before + 1
        return await super().chat_states(user_id, before=inclusive, limit=limit)


class HidesSilentChats(MemoryStore):
    async def chat_state(self, user_id: int, chat_id: int) -> ChatState | None:
        return await super().chat_state(user_id, chat_id) if self._messages_of(chat_id) else None


class ShowsTheFirstMessage(MemoryStore):
    async def chat_states(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatState]:
        page = await super().chat_states(user_id, before=before, limit=limit)
        return [
            it._replace(last_message=it.last_message and self._messages_of(it.chat.id)[0])
            for it in page
        ]


class RacesForMarkers(MemoryStore):
    async def move_read_marker(self, chat_id: int, user_id: int, seq: int, moved_us: int) -> int:
        entry: ChatRecord = self.contents.chats[chat_id]
        before = entry.read.get(user_id, 0)
        await asyncio.sleep(0)
        entry.read[user_id] = before
        return await super().move_read_marker(chat_id, user_id, seq, moved_us)


class CountsInAStepOfItsOwn(MemoryStore):
    async def chat_state(self, user_id: int, chat_id: int) -> ChatState | None:
        state = await super().chat_state(user_id, chat_id)
        await asyncio.sleep(0)
        later = await super().chat_state(user_id, chat_id)
        return state and later and state._replace(unread=later.unread)


class MarksInAStepOfItsOwn(MemoryStore):
    async def chat_states(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatState]:
        page = await super().chat_states(user_id, before=before, limit=limit)
        await asyncio.sleep(0)
        return [it._replace(read_seq=self._marker(it.chat, user_id)) for it in page]

    def _marker(self, chat: Chat, user_id: int) -> int:
        return self.contents.chats[chat.id].read.get(user_id, 0)


FAULTS: dict[type[MemoryStore], ChatStoreCheck] = {
    MovesMarkersBack: states.a_marker_moves_forward_only,
    AnswersWithWhatWasAsked: states.a_marker_moves_forward_only,
    ReadsAhead: states.a_marker_ends_at_the_last_message,
    ReadsWhatOneWrites: states.markers_are_independent,
    MarksEveryChat: states.markers_are_independent,
    MarksForBoth: states.markers_are_independent,
    LetsStrangersMark: states.strangers_move_no_marker,
    ShowsStrangersTheChat: states.strangers_move_no_marker,
    CountsOwnMessages: states.unread_is_what_the_peer_sent_after_the_marker,
    CountsOwnMessagesInLists: states.unread_is_what_the_peer_sent_after_the_marker,
    KeepsACounter: states.unread_is_what_the_peer_sent_after_the_marker,
    ListsStatesByChat: states.states_are_the_chats_of_the_user,
    ListsTheCursorsState: states.states_are_the_chats_of_the_user,
    HidesSilentChats: states.a_state_has_the_last_message,
    ShowsTheFirstMessage: states.a_state_has_the_last_message,
    RacesForMarkers: states.simultaneous_marks_end_at_the_largest,
    CountsInAStepOfItsOwn: states.a_state_is_of_one_moment,
    MarksInAStepOfItsOwn: states.a_state_is_of_one_moment,
}
