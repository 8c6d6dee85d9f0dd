"""The stores that the model test drives, and how each is made to fail."""

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Protocol

from chatcore import StoreUnavailable
from chatcore_memory import MemoryStore
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.durability.faults import Faults
from tests.integration.durability.witness import Store


class Backend(Protocol):
    persistent: bool
    """Whether the store can be closed and reopened."""

    async def open(self) -> Store: ...

    async def close(self) -> None: ...

    async def settled(self) -> None:
        """Wait for calls that arrive after their caller gave up, if a later call of the same can
        overtake them."""
        ...

    def failing(self, seed: int) -> contextlib.AbstractContextManager[None]:
        """Inside the context, the store sometimes fails."""
        ...


class Memory:
    persistent = False

    async def open(self) -> Store:
        return MemoryStore()

    async def close(self) -> None:
        pass

    async def settled(self) -> None:
        pass

    def failing(self, seed: int) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


class Remote:
    """Any store, far away: answers take time, a cancelled call may still arrive, and the connection
    may break before or after the call."""

    persistent = False

    def __init__(self, store: type[MemoryStore] = MemoryStore) -> None:
        self._store = store()
        self._random = Random(1)
        self._breaks = 0.0
        self._under_way: set[asyncio.Task[Any]] = set()

    async def open(self) -> Any:
        return self

    async def close(self) -> None:
        await self.settled()

    async def settled(self) -> None:
        await asyncio.gather(*self._under_way, return_exceptions=True)

    @contextlib.contextmanager
    def failing(self, seed: int) -> Iterator[None]:
        self._random.seed(seed)
        self._breaks = 0.2
        try:
            yield
        finally:
            self._breaks = 0.0

    def __getattr__(self, method: str) -> Any:
        async def call(*arguments: Any, **options: Any) -> Any:
            return await self._call(method, arguments, options)

        return call

    async def _call(self, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        await self._travel()
        task = asyncio.create_task(getattr(self._store, method)(*arguments, **options))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        outcome = await asyncio.shield(task)
        await self._travel()
        return outcome

    async def _travel(self) -> None:
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        if self._random.random() < self._breaks:
            raise StoreUnavailable


class Sqlite:
    persistent = True

    def __init__(self, folder: Path, faults: Faults) -> None:
        self._url = f"sqlite:///{folder / secrets.token_hex(8)}.db"
        self._faults = faults
        self._store: SqlAlchemyStore | None = None

    async def open(self) -> Store:
        self._store = await SqlAlchemyStore.open(self._url)
        return self._store

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()

    async def settled(self) -> None:
        pass

    @contextlib.contextmanager
    def failing(self, seed: int) -> Iterator[None]:
        random = Random(seed)
        self._faults.failing = lambda _: random.random() < 0.1
        self._faults.armed = True
        try:
            yield
        finally:
            self._faults.armed = False
