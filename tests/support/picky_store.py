"""An in-memory store that is as strict about names and numbers as a database."""

from collections.abc import Sequence

from chatcore import Chat, ChatState, Cursor
from chatcore.events import Entry
from chatcore.ports import Credentials
from chatcore_memory import MemoryStore


class PickyStore(MemoryStore):
    """Raises ValueError for a name or number that no database can hold."""

    async def credentials(self, canonical: str) -> Credentials | None:
        return await super().credentials(_held(canonical))

    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        return await super().chat_with(user_id, _held(peer))

    async def chat_by_id(self, chat_id: int) -> Chat | None:
        return await super().chat_by_id(_counted(chat_id))

    async def chat_state(self, user_id: int, chat_id: int) -> ChatState | None:
        return await super().chat_state(user_id, _counted(chat_id))

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        _counted(after.n)
        return await super().events_after(after, limit=limit)


def _counted(number: int) -> int:
    if not -(2**63) <= number < 2**63:
        raise ValueError("not a number of 64 bits")
    return number


def _held(canonical: str) -> str:
    if not canonical or b"\0" in canonical.encode() or len(canonical) > 10_000:
        raise ValueError("not a name")
    return canonical
