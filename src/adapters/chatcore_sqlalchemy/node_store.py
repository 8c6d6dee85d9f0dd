"""What the nodes that share a PostgreSQL database know of each other."""

from chatcore_sqlalchemy.database import Database
from chatcore_sqlalchemy.queries import nodes
from chatcore_sqlalchemy.queries.nodes import DigestsOf


class SqlNodes:
    """The running nodes of a database. `SqlAlchemyStore` extends it."""

    @property
    def _database(self) -> Database:
        raise NotImplementedError

    async def time_us(self) -> int | None:
        """Return the time by the clock of the database, in microseconds since 1970-01-01 UTC; None
        for a SQLite file, which has no clock but that of its one process. Raises
        StoreUnavailable."""
        return await self._database.time_us()

    async def see_node(self, node_id: str, digests_of: DigestsOf, now_us: int) -> int | None:
        """Record that a node with these keys is running now, by the clock of the database.

        Nodes agree when each two share a key, and a node counts as running for 3 minutes after it
        was recorded. If another running node shares none, nothing is recorded: returns when that
        one was recorded. Of simultaneous calls, each sees those before it. Raises
        StoreUnavailable."""
        return await self._database.write(
            lambda run: nodes.see_node(run, node_id, digests_of, now_us)
        )

    async def drop_node(self, node_id: str) -> None:
        """Forget a node that stops. Raises StoreUnavailable."""
        await self._database.write(lambda run: run(nodes.DROP_NODE, node_id=node_id))
