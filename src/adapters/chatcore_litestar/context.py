"""The context that all handlers of an application share."""

from dataclasses import dataclass
from typing import Any

from chatcore import Accounts, Clock, Messenger, StoreUnavailable
from chatcore.model import Seconds
from chatcore.ports import Authenticator
from chatcore_litestar.auth import Sessions
from chatcore_litestar.client import AddressOf
from chatcore_litestar.streams import Streams


class _Closed:
    def __getattr__(self, _: str) -> Any:
        raise StoreUnavailable(
            "the chat's lifespan has not begun, or has ended; a host that mounts it must enter it"
        )


CLOSED: Any = _Closed()
"""Stands for an object of a closed context. Its use raises StoreUnavailable."""


@dataclass(slots=True)
class Context:
    """The dependencies and time limits of the handlers.

    A plugin opens its store when the application starts, long after it made the handlers, so they
    read the context at each request.
    """

    has_accounts: bool
    """Whether users register and log in here. If not, they are the host's own."""
    clock: Clock
    seconds: Seconds
    address_of: AddressOf
    origins: tuple[str, ...] = ()
    """Whose pages may send an ambient credential, besides the service's own."""
    body_seconds: float = 20
    """Time a client has to send a body."""
    send_seconds: float = 30
    """Time a client has to accept a chunk of an answer."""
    messenger: Messenger = CLOSED
    accounts: Accounts = CLOSED
    sessions: Sessions = CLOSED
    streams: Streams = CLOSED

    def open(
        self,
        messenger: Messenger,
        accounts: Accounts | None,
        authenticator: Authenticator,
        streams: Streams,
    ) -> None:
        """Serve requests with these from now on."""
        sessions = Sessions(authenticator, self.clock, self.seconds)
        for owner in (messenger, accounts):
            if owner is not None:
                owner.changes.subscribe(sessions.forget)
                # A rename ends no stream: its session stays valid.
                owner.changes.subscribe(streams.end_of, renames=False)
                owner.changes.subscribe_failovers(sessions.forget_all)
                owner.changes.subscribe_sessions(sessions.forget_session)
                owner.changes.subscribe_sessions(streams.end_of_session)
        self.messenger, self.sessions, self.streams = messenger, sessions, streams
        self.accounts = CLOSED if accounts is None else accounts

    def close(self) -> None:
        """Answer later requests with 503."""
        self.messenger = self.accounts = self.sessions = self.streams = CLOSED
