"""Many chats of one user."""

from chatcore import Chat, User, UserName
from chatcore_memory import MemoryStore


async def open_chats(store: MemoryStore, hub: User, count: int) -> list[Chat]:
    """Chats of the hub with as many new peers, empty, the oldest first."""
    peers = [await store.add_user(UserName(f"peer {n}"), "", 0) for n in range(count)]
    return [await store.open_chat(hub.id, peer.id, 0) for peer in peers]
