"""Binds the sockets that the service listens on."""

import errno
import resource
import socket
from collections.abc import Sequence

from chatcore_server.settings import CannotStart

SPARE_DESCRIPTORS = 64
"""Reserved for the database, the log, and connections over the limit."""

UNANSWERED_SECONDS = 60
"""A connection ends if its peer acknowledges nothing for this long. By itself, TCP retries for a
quarter of an hour; an event stream, which sends something every 15 seconds, would stay open for a
machine that has disappeared."""

_LACKING = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_REASONS = {
    errno.EADDRINUSE: "another process uses it",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "not permitted; ports below 1024 need administrator rights",
}


def bind(host: str, port: int) -> Sequence[socket.socket]:
    """Bind a socket to each address of the host; none of them accepts connections yet.

    Raises CannotStart.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:  # UnicodeError, for a bad host name, is a ValueError.
        raise CannotStart(f"{host!r} is not a known address or host name") from error
    sockets: list[socket.socket] = []
    lacking: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        # With port 0, the first socket chooses the port for all.
        chosen = port or (sockets[0].getsockname()[1] if sockets else 0)
        try:
            sockets.append(_bound(family, kind, protocol, (address[0], chosen, *address[2:])))
        except OSError as error:
            # "localhost" may resolve to an IPv6 address on a machine without IPv6.
            if error.errno not in _LACKING:
                raise cannot_listen(host, port, error) from error
            lacking = error
    if not sockets and lacking:
        raise cannot_listen(host, port, lacking) from lacking
    return sockets


def cannot_listen(host: str, port: int, error: OSError) -> CannotStart:
    """Create the error for a port that cannot be used, with the reason in plain words."""
    reason = _REASONS.get(error.errno or 0, error.strerror)
    return CannotStart(f"cannot listen on port {port} of {host}: {reason}")


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def allow_connections(wanted: int) -> int:
    """Raise the limit of open files for that many connections; return how many fit, at least 1."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):  # Some systems have a lower limit than they report.
        raised = soft
    return max(1, min(wanted, raised - SPARE_DESCRIPTORS))


def _bound(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "::" must not include "0.0.0.0".
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # On Linux; accepted sockets inherit it.
            timeout = UNANSWERED_SECONDS * 1000
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made
