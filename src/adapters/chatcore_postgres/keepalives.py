"""TCP keepalives, by which a session notices that its server is no longer there."""

import socket
from dataclasses import dataclass
from typing import Any

_IDLE = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
"""macOS has another name for it."""


@dataclass(frozen=True, slots=True)
class Keepalives:
    """What is set on the socket of a session; 0 leaves a value to the system.

    The defaults find a lost server within 90 seconds, and keep an idle session known to firewalls.
    """

    on: bool = True
    idle: int = 60
    """Seconds of silence before the first probe."""
    interval: int = 10
    """Seconds between probes."""
    count: int = 3
    """Unanswered probes after which the connection is lost."""
    user_timeout: int = 0
    """Milliseconds after which data without an acknowledgement lose the connection."""

    def set_on(self, tcp: Any) -> None:
        """Set them on a TCP socket. Raises OSError."""
        options = {getattr(socket, "TCP_USER_TIMEOUT", None): self.user_timeout}
        if self.on:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            options |= {
                _IDLE: self.idle,
                getattr(socket, "TCP_KEEPINTVL", None): self.interval,
                getattr(socket, "TCP_KEEPCNT", None): self.count,
            }
        for option, value in options.items():
            if option is not None and value > 0:
                tcp.setsockopt(socket.IPPROTO_TCP, option, value)
