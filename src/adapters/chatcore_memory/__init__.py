"""chatcore's stores in memory: for tests, demos and whoever needs no disk.

A real store with every promise of `chatcore.ports` but durability, held to the same checks
as the others.
"""

from chatcore_memory.store import MemoryStore

__all__ = ["MemoryStore"]
