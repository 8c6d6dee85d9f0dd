"""The interface to an open database. `SqliteDatabase` and `PostgresDatabase` implement it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Executable

from chatcore.model import Sent
from chatcore.ports import BoundStore
from chatcore_sqlalchemy.group_commit import Append, Run, Writes
from chatcore_sqlalchemy.upgrade import Migrated

T = TypeVar("T")


class Database(Protocol):
    """An open database. Every method but `close` raises StoreUnavailable when it fails."""

    @property
    def migrated(self) -> Migrated:
        """The revisions of the schema before and after opening."""
        ...

    @property
    def version(self) -> int | None:
        """As long as this number stays the same, so does every result of `read`. None when a
        write is under way, or when other processes write."""
        ...

    @property
    def writes(self) -> Writes:
        """Figures of the queue of writes."""
        ...

    async def read(self, statement: Executable, /, **values: Any) -> Sequence[Sequence[Any]]:
        """All rows of a query with these bound values."""
        ...

    async def write(self, change: Callable[[Run], T]) -> T:
        """Run the change in a transaction and return its result once it is durable. An exception
        of the change undoes it and is raised here."""
        ...

    async def append(self, append: Append) -> Sent:
        """Append a message, as `ChatStore.append_message` promises."""
        ...

    def on_failover(self, forget: Callable[[], None]) -> None:
        """Call `forget` when another server took over, and after each lost connection: what was
        read before may not be there any more. It returns at once and raises nothing."""
        ...

    def bound(
        self, connection: object, digest_secret: Callable[[], Awaitable[bytes]]
    ) -> BoundStore:
        """The store within the transaction of a host's connection. Raises TypeError for a
        connection that cannot serve, and for a database that has no such connections."""
        ...

    async def check_writes(self) -> None:
        """Raise StoreUnavailable if a write would fail now."""
        ...

    async def time_us(self) -> int | None:
        """The time by the clock of the database server, in microseconds since 1970-01-01 UTC; None
        without a server."""
        ...

    async def close(self) -> None:
        """Finish the waiting writes and release the database. May be called again."""
        ...
