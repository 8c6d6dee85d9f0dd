"""Stores in memory that are as particular about names as a database."""

from chatcore import Chat
from chatcore.ports import Credentials
from chatcore_memory import MemoryStore


class PickyStore(MemoryStore):
    """Asked for a name that no database can hold, it fails."""

    async def credentials(self, canonical: str) -> Credentials | None:
        return await super().credentials(_held(canonical))

    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        return await super().chat_with(user_id, _held(peer))


def _held(canonical: str) -> str:
    if not canonical or b"\0" in canonical.encode() or len(canonical) > 10_000:
        raise ValueError("not a name")
    return canonical
