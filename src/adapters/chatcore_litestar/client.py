"""Who asks: the address that guesses and registrations are counted by."""

import logging
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from litestar.types import Scope

Network = IPv4Network | IPv6Network
AddressOf = Callable[[Scope], str | None]
"""The address of the client that a request comes from; None for one that must not be limited."""

NOT_THE_OWNER = "loopback, not its owner"
"""Stands for clients on this machine that do not get its owner's allowance (`chatcore.Guard`)."""

_FORWARDED = (b"x-forwarded-", b"forwarded", b"via", b"x-real-ip")

logger = logging.getLogger("chatcore")


def address_behind(trusted: Iterable[str | Network]) -> AddressOf:
    """Find client addresses behind proxies of these addresses and networks. Raises ValueError
    for anything else.

    Without proxies it is the peer's address. With them, the header X-Forwarded-For of a peer that
    is one of them is read from the right, where each proxy has added its own peer, and the first
    that is not trusted is the client. Anybody can write what stands left of it. An entry that is
    no address ends the walk, at the proxy that let it pass. No other header names a client.

    A loopback address is the machine's owner only for a direct request: it has no forwarding
    header and no page of another origin sent it. Otherwise it is NOT_THE_OWNER; the first time
    that a proxy nobody trusts is the reason, a log line says what to set.
    """
    networks = [ip_network(each) for each in trusted]
    warned = False

    def address_of(scope: Scope) -> str | None:
        nonlocal warned
        peer = parse_address((scope.get("client") or ("",))[0])
        # A Unix socket, or a test client.
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
    """Whether a browser sent the request for a page that this machine does not serve here. A name
    that merely resolves to a loopback address is not this machine's: a page can bring that about
    (DNS rebinding)."""
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
    """An address as a header or a server may tell it: with a port, in brackets, with a zone,
    IPv4 inside IPv6."""
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
    """The entries, the last one first."""
    for name, value in reversed(list(scope["headers"])):
        if name == b"x-forwarded-for":
            yield from reversed(value.decode("latin-1").split(","))
