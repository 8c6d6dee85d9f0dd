"""A doorbell for a store that several nodes use: nodes ring for each other over a bus.

A bus carries small messages to every node on a channel; it may lose, double and delay them. An
adapter connects to a bus; this module decides what to send, and when.

A message is ASCII text, `<version> <node> <user id> <user id> …`, of at most MESSAGE_BYTES. A
node ignores versions that it does not know.
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
from chatcore.ports import EventLog

MESSAGE_BYTES = 7_900
"""The largest message; PostgreSQL refuses 8,000 bytes."""

PATIENCE_SECONDS = 5.0
"""How often a node sends, and how long it waits until it hears itself."""

_MAX_PENDING = 10_000
_MAX_DELAY = 5.0
_PIECE = 100
_MESSAGE = re.compile(rb"1 ([0-9a-f]{16})((?: -?[0-9]{1,19})*)")

logger = logging.getLogger(__name__)


class Link(Protocol):
    """A connection to a bus that listens on one channel."""

    async def send(self, message: bytes) -> None:
        """Send a message to every node on the channel, this one included. May raise anything
        and may wait for ever."""
        ...

    async def run(self) -> None:
        """Receive messages until the connection is lost; then return, or raise anything."""
        ...


Connect = Callable[[Callable[[bytes], None]], AbstractAsyncContextManager[Link]]
"""Connects, and passes each message to the given function, at least while `run` runs. May wait for
ever to connect; closes within a second or two, also when the bus is frozen."""


async def channel_of(log: EventLog) -> str:
    """Return the channel on which the nodes of a store ring for each other: the id of its event log
    is unique to it, while several stores may share a bus. Raises Unavailable."""
    return f"chatcore_{(await log.end_of_log(0)).log}"


class BusDoorbell:
    """A Doorbell that rings on other nodes, too.

    Listeners on this node are woken at once, without the bus. Rings of one round of the event
    loop go out as one message; rings during a send go out with the next.

    The bus may fail, freeze and return at any time. A connection counts only while the node
    hears itself through it: the node sends every `patience` seconds, and reconnects after
    `patience` seconds without an echo. After each new connection every listener on this node is
    woken, since rings from other nodes were lost; and rings that this node could not send, for up
    to 10,000 users, go out. Logs one warning for a lost connection, and one line for its return.

    The doorbell belongs to the event loop that started it. Raises RuntimeError when another
    event loop uses or closes it.
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
        self._disconnected = False
        self._steady_at = float("inf")
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> Self:
        """Connect, and stay connected until `close`. Returns when the first attempt succeeds or
        fails, after at most twice `patience` seconds."""
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
        """Leave the bus, within seconds even when it is frozen. Later rings wake only listeners
        on this node."""
        self._expect_own_loop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def ring(self, user_ids: Iterable[int]) -> None:
        self._expect_own_loop()
        user_ids = tuple(user_ids)
        self._local.ring(user_ids)
        if len(self._pending) < _MAX_PENDING:
            self._pending.update(user_ids)
            self._due.set()

    def listen(self, user_id: int, wake: Callable[[], None]) -> Callable[[], None]:
        self._expect_own_loop()
        return self._local.listen(user_id, wake)

    def _expect_own_loop(self) -> None:
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
                        link = await stack.enter_async_context(self._connect(self._received))
                    await self._use(link)
            except (Exception, asyncio.CancelledError) as error:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    return
                # Not a cancellation of this task: a library cancelled something of its own.
                self._lost(error)
            delay = shortest if loop.time() > self._steady_at else min(2 * delay, _MAX_DELAY)
            await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 (no secret)

    async def _use(self, link: Link) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive(link))
            tasks.create_task(self._send_rings(link))
            await self._pulse()

    async def _receive(self, link: Link) -> None:
        await link.run()
        raise ConnectionError("the connection ended")

    async def _send_rings(self, link: Link) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            user_ids, self._pending = self._pending, set()
            try:
                for message in _messages(self._node, user_ids):
                    await link.send(message)
            except BaseException:
                self._pending |= user_ids
                raise

    async def _pulse(self) -> None:
        connected = False
        while True:
            self._echo.clear()
            # With no pending ring, this sends a message without users: the echo to wait for.
            self._due.set()
            try:
                async with asyncio.timeout(self._patience):
                    await self._echo.wait()
            except TimeoutError:
                raise ConnectionError(f"silent for {self._patience:g} s") from None
            if not connected:
                connected = True
                await self._connected()
            await asyncio.sleep(self._patience)

    def _received(self, message: bytes) -> None:
        if len(message) > MESSAGE_BYTES or not (read := _MESSAGE.fullmatch(message)):
            return
        if read[1] == self._node.encode():
            self._echo.set()
        else:
            self._local.ring(map(int, read[2].split()))

    async def _connected(self) -> None:
        self._steady_at = asyncio.get_running_loop().time() + _MAX_DELAY
        self._tried.set()
        if self._disconnected:
            self._disconnected = False
            logger.info("connected to %s again", self._name)
        # In pieces, with pauses: each woken listener reads the store.
        users = self._local.users()
        for start in range(0, len(users), _PIECE):
            self._local.ring(users[start : start + _PIECE])
            await asyncio.sleep(0.01)

    def _lost(self, error: BaseException) -> None:
        self._tried.set()
        if self._disconnected:
            return
        self._disconnected = True
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        logger.warning(
            "no connection to %s (%s: %s); events from other nodes arrive late until it is back",
            self._name,
            type(error).__name__,
            error,
        )


def _messages(node: str, user_ids: Collection[int]) -> Iterator[bytes]:
    """Split the users over as many messages as needed; without users, one empty message."""
    message = head = b"1 " + node.encode()
    for user_id in user_ids:
        word = b" %d" % user_id
        if len(message) + len(word) > MESSAGE_BYTES:
            yield message
            message = head
        message += word
    yield message
