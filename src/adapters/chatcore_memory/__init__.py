"""chatcore's stores in memory, for tests, demos and hosts that need no disk.

They keep every promise of `chatcore.ports` except durability, and pass the same checks as the
other stores.
"""

from chatcore_memory.store import MemoryStore

__all__ = ["MemoryStore"]
