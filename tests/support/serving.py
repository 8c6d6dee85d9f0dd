"""Serves an application of this process on a socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from chatcore_server.serving.protocol import BoundedProtocol


class Serving(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # pytest keeps its own signal handlers.

    @property
    def url(self) -> str:
        host, port = self.servers[0].sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def idle(self) -> None:
        """Wait until no request is in flight and no client is connected."""
        await until(lambda: not (self.server_state.tasks or self.server_state.connections))


@asynccontextmanager
async def serving(app: Any, protocol: type[Any] = BoundedProtocol) -> AsyncIterator[Serving]:
    """Serve the application as the service does, or with another protocol."""
    config = uvicorn.Config(
        app, port=0, http=protocol, ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = Serving(config)
    running = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        yield server
    finally:
        server.should_exit = True
        server.force_exit = True
        await running


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (most conditions have no event to wait for)
            await asyncio.sleep(0.01)
