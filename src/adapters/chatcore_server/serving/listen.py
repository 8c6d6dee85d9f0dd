"""The sockets that the service listens on."""

import errno
import resource
import socket
from collections.abc import Sequence

from chatcore_server.settings import CannotStart

SPARE_DESCRIPTORS = 64
"""For the database, the log, and for turning connections away."""

UNANSWERED_SECONDS = 60
"""After so long without a word from a peer that was sent something, its connection is over. Left
to itself, TCP tries for a quarter of an hour; a stream of events, which sends something every 15
seconds, would be held open for a machine that is gone."""

_LACKING = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_REASONS = {
    errno.EADDRINUSE: "another process uses it",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "that is not permitted; ports below 1024 are for the administrator",
}


def bind(host: str, port: int) -> Sequence[socket.socket]:
    """A socket on every address of the host; none of them takes connections yet.

    Raises CannotStart.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:  # UnicodeError, for a bad host name, is a ValueError.
        raise CannotStart(f"{host!r} is no address or host name known here") from error
    sockets: list[socket.socket] = []
    lacking: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        # The first address settles port 0.
        chosen = port or (sockets[0].getsockname()[1] if sockets else 0)
        try:
            sockets.append(_bound(family, kind, protocol, (address[0], chosen, *address[2:])))
        except OSError as error:
            # "localhost" may be an IPv6 address too, on a machine without IPv6.
            if error.errno not in _LACKING:
                raise cannot_listen(host, port, error) from error
            lacking = error
    if not sockets and lacking:
        raise cannot_listen(host, port, lacking) from lacking
    return sockets


def cannot_listen(host: str, port: int, error: OSError) -> CannotStart:
    reason = _REASONS.get(error.errno or 0, error.strerror)
    return CannotStart(f"cannot listen on port {port} of {host}: {reason}")


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def allow_connections(wanted: int) -> int:
    """Make room for that many open connections; how many there is room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):  # Some systems have a lower limit than they tell.
        raised = soft
    return max(1, min(wanted, raised - SPARE_DESCRIPTORS))


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # So that "::" and "0.0.0.0" are two addresses, as they look.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux has it, and accepted sockets inherit it.
            timeout = UNANSWERED_SECONDS * 1000
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made
