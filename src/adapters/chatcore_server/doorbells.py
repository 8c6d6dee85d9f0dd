"""The doorbell on which the nodes of one database ring for each other."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from chatcore import LocalDoorbell, Unavailable
from chatcore.bus import BusDoorbell, channel_of
from chatcore.ports import Doorbell, EventLog
from chatcore_postgres import InvalidUrl
from chatcore_server.database import engine
from chatcore_server.settings import CannotStart, Settings


@asynccontextmanager
async def open_doorbell(settings: Settings, store: EventLog) -> AsyncIterator[Doorbell]:
    """Yield a doorbell that other nodes hear, or a local one for an engine of one process.

    Raises CannotStart for an unusable URL, and without one behind a pooler that carries no rings; a
    bus that does not answer is only logged.
    """
    database = engine(settings)
    if settings.pooler is not None and settings.bus_url in {None, settings.database_url}:
        raise CannotStart(
            f"CHATCORE_POOLER={settings.pooler} needs a CHATCORE_BUS_URL, for LISTEN hears nothing "
            "through the pooler: valkey://host, nats://host, or postgresql://user@host/database of "
            "the PostgreSQL server itself"
        )
    url = settings.bus_url or (database.url if database.notifies else None)
    if url is None:
        yield LocalDoorbell()
        return
    try:
        channel = await channel_of(store)
    except Unavailable as error:
        raise CannotStart(f"the database failed: {error}") from error
    try:
        opened = await _opener(url)(url, channel=channel)
    except ModuleNotFoundError as error:
        raise CannotStart(
            f"CHATCORE_BUS_URL needs the Python module {error.name}, which is not installed"
        ) from error
    except InvalidUrl as error:
        raise CannotStart(f"CHATCORE_BUS_URL is not valid: {error}") from None
    except ValueError:
        # Neither the URL nor the reason is quoted: both may contain a password.
        raise CannotStart(
            "CHATCORE_BUS_URL is not valid; expected valkey://host, redis://:password@host:6379, "
            "nats://host or postgresql://user@host/database"
        ) from None
    async with opened as doorbell:
        yield doorbell


def _opener(url: str) -> Callable[..., Awaitable[BusDoorbell]]:
    # Imported on demand: each module needs the client library of its bus.
    match url.partition(":")[0]:
        case "postgresql" | "postgres" | "postgresql+asyncpg":
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
