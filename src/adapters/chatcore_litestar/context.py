"""The context that all handlers of an application share."""

from dataclasses import dataclass

from chatcore import Accounts, Clock, Messenger
from chatcore_litestar.auth import Sessions
from chatcore_litestar.client import AddressOf
from chatcore_litestar.streams import Streams


@dataclass(frozen=True, slots=True)
class Context:
    """The dependencies and time limits of the handlers."""

    accounts: Accounts | None
    """None if the host has users of its own."""
    messenger: Messenger
    sessions: Sessions
    streams: Streams
    clock: Clock
    address_of: AddressOf
    origins: tuple[str, ...]
    """Whose pages may send an ambient credential, besides the service's own."""
    body_seconds: float
    """Time a client has to send a body."""
    send_seconds: float
    """Time a client has to accept a chunk of an answer."""
