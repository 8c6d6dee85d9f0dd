"""`GET /metrics` for Prometheus, on an address apart from the service."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from chatcore_litestar import Streams
from chatcore_server.observe.counting import BOUNDS, CountedDoorbell, CountedHasher, Requests
from chatcore_server.serving.listen import cannot_listen
from chatcore_server.serving.protocol import BoundedProtocol
from chatcore_server.settings import CannotStart
from chatcore_sqlalchemy import SqlAlchemyStore


@dataclass(frozen=True, slots=True, eq=False)
class Figures(Collector):
    """The metrics of this process, read from its parts at each scrape."""

    requests: Requests
    streams: Streams
    store: SqlAlchemyStore
    doorbell: CountedDoorbell
    hasher: CountedHasher

    def collect(self) -> Iterable[Metric]:
        yield from self._requests()
        yield from self._writes()
        yield _gauge("chatcore_streams", "Open streams and long polls.", self.streams.under_way)
        yield _counter(
            "chatcore_doorbell_rings", "Rings for users' event logs.", self.doorbell.rings
        )
        hasher = self.hasher
        yield _gauge(
            "chatcore_passwords_waiting", "Passwords queued or being hashed.", hasher.waiting
        )
        yield _counter("chatcore_passwords", "Passwords hashed or verified.", hasher.done)
        yield _counter(
            "chatcore_passwords_refused",
            "Passwords refused because the queue was full.",
            hasher.refused,
        )
        yield _counter(
            "chatcore_connections_refused",
            "Connections refused over the limit.",
            BoundedProtocol.turned_away,
        )

    def _requests(self) -> Iterable[Metric]:
        number = CounterMetricFamily(
            "chatcore_requests",
            "Requests by status; status 0 means no answer.",
            labels=["route", "method", "status"],
        )
        seconds = HistogramMetricFamily(
            "chatcore_request_seconds",
            "Time until the answer was sent, without requests that wait for events.",
            labels=["route", "method"],
        )
        taken: dict[tuple[str, str], tuple[list[int], float]] = {}
        # A copy, since another thread counts.
        for (route, method, status), cell in list(self.requests.cells.items()):
            number.add_metric([route, method, str(status)], cell.number)
            buckets, total = taken.get((route, method), ([0] * (len(BOUNDS) + 1), 0.0))
            added = [sum(pair) for pair in zip(buckets, cell.buckets, strict=True)]
            taken[route, method] = added, total + cell.seconds
        for (route, method), (buckets, total) in taken.items():
            if any(buckets):
                seconds.add_metric([route, method], _up_to(BOUNDS, buckets), total)
        return number, seconds

    def _writes(self) -> Iterable[Metric]:
        writes = self.store.writes
        sizes = HistogramMetricFamily("chatcore_batch_size", "Writes per commit.")
        bounds = [2.0**power for power in range(len(writes.sizes) - 1)]
        sizes.add_metric([], _up_to(bounds, writes.sizes), writes.items)
        yield sizes
        yield _gauge("chatcore_writes_waiting", "Writes waiting for a batch.", writes.waiting)
        yield _counter(
            "chatcore_messages_replayed",
            "Replayed sends, answered with the stored message.",
            self.store.replayed,
        )


@asynccontextmanager
async def serve_metrics(address: tuple[str, int], figures: Figures) -> AsyncIterator[None]:
    """Within this context, serve these figures and the process's own at the address.

    Anyone who can connect can read them. A thread serves them. Raises CannotStart.
    """
    registry = CollectorRegistry()
    registry.register(figures)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    host, port = address
    try:
        server, thread = start_http_server(port, host, registry)
    except OverflowError:
        # A worker counts up from the configured port, maybe past 65,535.
        raise CannotStart(f"there is no port {port} for metrics") from None
    except OSError as error:
        raise cannot_listen(host, port, error) from error
    try:
        yield
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()


def _up_to(bounds: Sequence[float], buckets: Sequence[int]) -> list[tuple[str, float]]:
    """Accumulate the buckets as Prometheus expects: each includes all smaller ones."""
    names = [*(str(bound) for bound in bounds), "+Inf"]
    sums, total = [], 0
    for name, number in zip(names, buckets, strict=True):
        total += number
        sums.append((name, float(total)))
    return sums


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value=value)


def _counter(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(name, about, value=value)
