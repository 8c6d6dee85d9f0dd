"""Find the client address by which login attempts and registrations are limited."""

import logging
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from litestar.types import Scope

Network = IPv4Network | IPv6Network
AddressOf = Callable[[Scope], str | None]
"""The client address of a request; None if the request must not be limited."""

NOT_THE_OWNER = "loopback, not its owner"
"""The address of loopback clients that do not get the owner's allowance (`chatcore.Guard`)."""

_FORWARDED = (b"x-forwarded-", b"forwarded", b"via", b"x-real-ip")

logger = logging.getLogger("chatcore")


def address_behind(trusted: Iterable[str | Network]) -> AddressOf:
    """Find client addresses behind the `trusted` proxies, given as addresses and networks.

    For a peer that is not a trusted proxy, the client address is the peer's address. For a
    trusted proxy, X-Forwarded-For is read from the right, where each proxy adds its own peer: the
    first address that is not trusted is the client. Entries further left can be forged. An
    invalid entry ends the walk at the proxy that passed it on. No other header is read.

    A loopback address counts as the machine's owner only for a direct request: without a
    forwarding header, and not sent by a page of another origin. Otherwise it is NOT_THE_OWNER.
    If no proxy is trusted, the first forwarded request logs which setting is missing.

    Raises ValueError if an entry of `trusted` is neither an address nor a network.
    """
    networks = [ip_network(each) for each in trusted]
    warned = False

    def address_of(scope: Scope) -> str | None:
        nonlocal warned
        peer = parse_address((scope.get("client") or ("",))[0])
        # A Unix socket or a test client.
        if peer is None:
            return None
        found = peer
        forwarded = _forwarded_for(scope)
        while any(found in network for network in networks):
            entry = parse_address(next(forwarded, ""))
            if entry is None:
                break
            found = entry
        if not found.is_loopback:
            return str(found)
        if _is_forwarded(scope):
            if not networks and not warned:
                warned = True
                logger.warning(
                    "a proxy at %s forwards requests but is not trusted: all its clients share "
                    "one limit on logins and registrations; set CHATCORE_TRUSTED_PROXIES=%s "
                    "(trusted_proxies)",
                    found,
                    found,
                )
            return NOT_THE_OWNER
        return NOT_THE_OWNER if _is_from_another_origin(scope) else str(found)

    return address_of


def _is_forwarded(scope: Scope) -> bool:
    return any(name.startswith(_FORWARDED) for name, _ in scope["headers"])


def _is_from_another_origin(scope: Scope) -> bool:
    """Whether a browser sent the request for a page of another origin. A host name that merely
    resolves to a loopback address counts as another origin (DNS rebinding)."""
    headers = dict(scope["headers"])
    if headers.get(b"sec-fetch-site") == b"cross-site":
        return True
    if (origin := headers.get(b"origin")) is None:
        return False
    try:
        authority = urlsplit(origin.decode("latin-1")).netloc.lower()
        host = (urlsplit(f"//{authority}").hostname or "").removesuffix(".")
    except ValueError:
        return True
    address = parse_address(host)
    local = host == "localhost" if address is None else address.is_loopback
    return not local or authority != headers.get(b"host", b"").decode("latin-1").lower()


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address as headers and servers write it: with a port, in brackets, with a zone,
    or IPv4 inside IPv6. None if it is invalid."""
    host = text.strip(" \t")
    if host.startswith("["):
        host, _, port = host[1:].partition("]")
        if port and not _is_port(port):
            return None
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
        if not _is_port(f":{port}"):
            return None
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _is_port(text: str) -> bool:
    return text[0] == ":" and text[1:].isascii() and text[1:].isdecimal() and len(text) <= 6


def _forwarded_for(scope: Scope) -> Iterator[str]:
    """Yield the entries of X-Forwarded-For, the last first."""
    for name, value in reversed(list(scope["headers"])):
        if name == b"x-forwarded-for":
            yield from reversed(value.decode("latin-1").split(","))
