"""The objects and limits that the handlers of one application share."""

from dataclasses import dataclass

from chatcore import Accounts, Clock, Messenger
from chatcore_litestar.auth import Sessions
from chatcore_litestar.client import AddressOf
from chatcore_litestar.streams import Streams


@dataclass(frozen=True, slots=True)
class Context:
    accounts: Accounts
    messenger: Messenger
    sessions: Sessions
    streams: Streams
    clock: Clock
    address_of: AddressOf
    body_seconds: float
    """How long a client may take to send its body."""
    send_seconds: float
    """How long a client may take to accept a chunk of an answer."""
