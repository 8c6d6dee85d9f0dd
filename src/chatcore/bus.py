"""A doorbell for a store that several nodes use: they tell each other over a bus.

A bus is whatever carries small messages to everyone on a channel: it may lose, double and delay
them. An adapter says how to connect to one; when, how often and what to say is told here.

A message is ASCII text, `<version> <node> <user id> <user id> …`, of at most MESSAGE_BYTES. A
node takes no notice of versions that it does not know.
"""

import asyncio
import logging
import random
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Protocol, Self

from chatcore.doorbell import LocalDoorbell

MESSAGE_BYTES = 7_900
"""PostgreSQL refuses 8,000."""

PATIENCE_SECONDS = 5.0

_MAX_PENDING = 10_000
_MAX_DELAY = 5.0
_PIECE = 100
_MESSAGE = re.compile(rb"1 ([0-9a-f]{16})((?: -?[0-9]{1,19})*)")

logger = logging.getLogger(__name__)


class Link(Protocol):
    """A connection to a bus that hears one channel."""

    async def send(self, message: bytes) -> None:
        """Hand a message to everyone on the channel, this link too. Raises anything when that
        fails; may wait for ever."""
        ...

    async def run(self) -> None:
        """Hear the channel until the connection is lost; then end, or raise anything."""
        ...


Connect = Callable[[Callable[[bytes], None]], AbstractAsyncContextManager[Link]]
"""Connects, and calls the function that it is given with each message, while within `run` at
the least. May wait for ever to connect; closes within a second or two, whatever the bus does."""


class BusDoorbell:
    """A Doorbell that other nodes hear.

    Who listens here is woken at once, without the bus. Rings of one round of the event loop go
    out as one message; those that come while a message is on its way are in the next.

    The bus may come and go, be frozen or not there yet. A connection counts only while the node
    hears itself through it: it says something every `patience` seconds, and connects anew when
    it has not heard that for as long. After each new connection everyone who listens here is
    woken, for rings were lost meanwhile. What users were rung for meanwhile, up to 10,000 of
    them, is told to the other nodes then. One warning tells of a loss, one line of the return.

    It belongs to the event loop that started it: used or closed in another, it raises
    RuntimeError.
    """

    def __init__(self, connect: Connect, name: str, *, patience: float = PATIENCE_SECONDS) -> None:
        self._connect = connect
        self._name = name
        self._patience = patience
        self._node = secrets.token_hex(8)
        self._local = LocalDoorbell()
        self._pending = set[int]()
        self._due = asyncio.Event()
        self._echo = asyncio.Event()
        self._tried = asyncio.Event()
        self._missed = False
        self._steady_at = float("inf")
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> Self:
        """Connect, and stay connected until `close`. Returns when the first attempt succeeded
        or failed, which takes twice the patience at most."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._stay_connected())
        try:
            await self._tried.wait()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the bus, within seconds even when it is frozen. From then on only listeners
        here are woken."""
        self._expect_its_loop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def ring(self, user_ids: Iterable[int]) -> None:
        self._expect_its_loop()
        user_ids = tuple(user_ids)
        self._local.ring(user_ids)
        if len(self._pending) < _MAX_PENDING:
            self._pending.update(user_ids)
            self._due.set()

    def listen(self, user_id: int, wake: Callable[[], None]) -> Callable[[], None]:
        self._expect_its_loop()
        return self._local.listen(user_id, wake)

    def _expect_its_loop(self) -> None:
        if self._loop is not None and asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "this doorbell belongs to the event loop that started it: start another one here, "
                "and close each in its own"
            )

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        shortest = _MAX_DELAY / 64
        delay = shortest
        while True:
            self._steady_at = float("inf")
            try:
                async with AsyncExitStack() as stack:
                    async with asyncio.timeout(self._patience):
                        link = await stack.enter_async_context(self._connect(self._heard))
                    await self._use(link)
            except (Exception, asyncio.CancelledError) as error:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    return
                # Or else it is a library that cancelled something of its own.
                self._lost(error)
            delay = shortest if loop.time() > self._steady_at else min(2 * delay, _MAX_DELAY)
            await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 (no secret)

    async def _use(self, link: Link) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear(link))
            tasks.create_task(self._tell(link))
            await self._pulse()

    async def _hear(self, link: Link) -> None:
        await link.run()
        raise ConnectionError("the connection ended")

    async def _tell(self, link: Link) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            telling, self._pending = self._pending, set()
            try:
                for message in _messages(self._node, telling):
                    await link.send(message)
            except BaseException:
                self._pending |= telling
                raise

    async def _pulse(self) -> None:
        found = False
        while True:
            self._echo.clear()
            # Due with nobody to tell of: that is the message to oneself.
            self._due.set()
            try:
                async with asyncio.timeout(self._patience):
                    await self._echo.wait()
            except TimeoutError:
                raise ConnectionError(f"silent for {self._patience:g} s") from None
            if not found:
                found = True
                await self._found()
            await asyncio.sleep(self._patience)

    def _heard(self, message: bytes) -> None:
        if len(message) > MESSAGE_BYTES or not (read := _MESSAGE.fullmatch(message)):
            return
        if read[1] == self._node.encode():
            self._echo.set()
        else:
            self._local.ring(map(int, read[2].split()))

    async def _found(self) -> None:
        self._steady_at = asyncio.get_running_loop().time() + _MAX_DELAY
        self._tried.set()
        if self._missed:
            self._missed = False
            logger.info("%s answers", self._name)
        # In pieces: each who wakes reads the store.
        users = self._local.users()
        for start in range(0, len(users), _PIECE):
            self._local.ring(users[start : start + _PIECE])
            await asyncio.sleep(0.01)

    def _lost(self, error: BaseException) -> None:
        self._tried.set()
        if self._missed:
            return
        self._missed = True
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        logger.warning(
            "no connection to %s (%s: %s); until there is one, what happens on other nodes is "
            "told late",
            self._name,
            type(error).__name__,
            error,
        )


def _messages(node: str, user_ids: Collection[int]) -> Iterator[bytes]:
    """The users in as many messages as it takes: one without any, if there are none."""
    message = head = b"1 " + node.encode()
    for user_id in user_ids:
        word = b" %d" % user_id
        if len(message) + len(word) > MESSAGE_BYTES:
            yield message
            message = head
        message += word
    yield message
