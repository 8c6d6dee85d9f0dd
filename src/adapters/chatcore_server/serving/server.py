"""Runs the application under uvicorn, from the first connection to the last answer."""

import asyncio
import contextlib
import gc
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import uvicorn
import uvloop

from chatcore_litestar import Streams
from chatcore_server.app import open_app
from chatcore_server.observe.request_log import silence_cancelled_requests
from chatcore_server.serving.listen import allow_connections, bind, cannot_listen, url_of
from chatcore_server.serving.protocol import BoundedProtocol
from chatcore_server.settings import Settings

KEEP_ALIVE_SECONDS = 65  # Longer than the 60 s of common proxies: the proxy must close first.
DRAIN_SECONDS = 3

ACCEPTS = 16
"""Connections accepted in one round of the event loop. libuv accepts one per listening descriptor,
and a round under load takes milliseconds: with one descriptor, the last of 64 simultaneous
connections waited 160 ms to 1 s (measured)."""

Started = Callable[[Sequence[str]], None]


def serve(settings: Settings, stopping: threading.Event, started: Started) -> None:
    """Serve until `stopping` is set; then finish the requests under way, for 3 s at most.

    Calls `started` with the URLs as soon as they answer. Raises CannotStart.
    """
    # Bind first: a start on a port in use must leave no trace.
    serve_on(bind(settings.host, settings.port), settings, stopping, started)


def serve_on(
    sockets: Sequence[socket.socket],
    settings: Settings,
    stopping: threading.Event,
    started: Started,
    *,
    chores: bool = True,
) -> None:
    """Serve on bound sockets, which other processes may share. Exactly one process does the
    `chores` (`open_app`)."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, list(sockets), stopping, started, chores))


async def _serve(
    settings: Settings,
    sockets: list[socket.socket],
    stopping: threading.Event,
    started: Started,
    chores: bool,
) -> None:
    streams = Streams()
    async with open_app(settings, streams, chores=chores) as app:
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            interface="asgi3",
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            # The application finds the client's address itself, and no answer depends on the URL.
            proxy_headers=False,
            server_header=False,
            limit_concurrency=allow_connections(settings.max_connections),
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        silence_cancelled_requests()
        await _Server(config, stopping, started, streams).serve(sockets)


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        stopping: threading.Event,
        started: Started,
        streams: Streams,
    ) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._on_started = started
        self._streams = streams

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The command handles signals, from before the start until after the end.
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup([each.dup() for each in sockets or () for _ in range(ACCEPTS)])
        except OSError as error:
            # Two processes can bind one address until one of them listens.
            raise cannot_listen(self.config.host, self.config.port, error) from error
        # Objects made so far live as long as the process: scanning them at every full collection
        # blocked the event loop for 40 ms under load. And the default threshold of 700 objects
        # mistakes the requests of a busy moment for a growing heap.
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        gc.enable()
        self._on_started([url_of(listener) for listener in sockets or ()])

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._stopping.is_set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn waits for open answers, and a stream does not end by itself.
        self._streams.end_all()
        # Stalled peers must not delay the stop. Cut them off before uvicorn cancels their
        # requests: it would answer with an error although the write may have happened.
        cut = asyncio.get_running_loop().call_later(DRAIN_SECONDS - 0.5, self._cut_off)
        await super().shutdown(sockets)
        cut.cancel()
        self._cut_off()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=0.5)

    def _cut_off(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
