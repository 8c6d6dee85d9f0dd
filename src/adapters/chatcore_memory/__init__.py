"""chatcore's adapters without dependencies, for tests, demos and hosts that need no disk.

`MemoryStore` keeps every promise of `chatcore.ports` except durability, and passes the same checks
as the other stores. `InsecureTestHasher` and `InsecureTestTokens` are for tests alone.
"""

from chatcore_memory.insecure import InsecureTestHasher, InsecureTestTokens
from chatcore_memory.store import MemoryStore

__all__ = ["InsecureTestHasher", "InsecureTestTokens", "MemoryStore"]
