"""What the nodes of one database tell each other over that something happened."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from chatcore import LocalDoorbell, Unavailable
from chatcore.bus import BusDoorbell
from chatcore.ports import Doorbell, EventLog
from chatcore_server.database import engine
from chatcore_server.settings import CannotStart, Settings


@asynccontextmanager
async def open_doorbell(settings: Settings, store: EventLog) -> AsyncIterator[Doorbell]:
    """A doorbell that the other nodes hear, where there can be any. Raises CannotStart; but a
    bus that does not answer is only told of in the log."""
    if not settings.bus_url and not engine(settings).notifies:
        yield LocalDoorbell()
        return
    url = settings.bus_url or settings.database_url
    # One bus may serve many installations. The name of the log is this one's alone.
    try:
        channel = f"chatcore_{(await store.end_of_log(0)).log}"
    except Unavailable as error:
        raise CannotStart(f"the database failed: {error}") from error
    try:
        opened = await _opener(url)(url, channel=channel)
    except ModuleNotFoundError as error:
        raise CannotStart(
            f"CHATCORE_BUS_URL is of a bus whose client, {error.name}, is not installed"
        ) from error
    except ValueError:
        # Not quoted, nor the reason, which may quote it: it may hold a password.
        raise CannotStart(
            "CHATCORE_BUS_URL is none; one is valkey://host, redis://:password@host:6379, "
            "nats://host or postgresql://user@host/database"
        ) from None
    async with opened as doorbell:
        yield doorbell


def _opener(url: str) -> Callable[..., Awaitable[BusDoorbell]]:
    # Imported where they are used: each needs a library that only its own bus calls for.
    match url.partition(":")[0]:
        case "postgresql" | "postgres":
            from chatcore_notify import NotifyDoorbell

            return NotifyDoorbell.open
        case "valkey" | "valkeys" | "redis" | "rediss" | "unix":
            from chatcore_valkey import ValkeyDoorbell

            return ValkeyDoorbell.open
        case "nats" | "tls":
            from chatcore_nats import NatsDoorbell

            return NatsDoorbell.open
        case scheme:
            raise ValueError(scheme)
