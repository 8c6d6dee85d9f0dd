"""Who asks: the address that attempts are counted by."""

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from litestar.types import Scope

Network = IPv4Network | IPv6Network
AddressOf = Callable[[Scope], str | None]
"""The address of the client that a request comes from; None for one that must not be limited."""


def address_behind(trusted: Iterable[str | Network]) -> AddressOf:
    """Finds addresses behind proxies of these addresses and networks. Raises ValueError for
    what is none.

    Without proxies it is the peer's address, whatever the headers say; but none for a peer on
    this machine, which could be a proxy that nobody told us about, with everybody behind it.

    With them, the header X-Forwarded-For of a peer that is one of them is read from the right,
    where each proxy has added whom it heard, and the first that is not trusted is the client. What
    stands left of it anybody can write. An entry that is no address ends the walk, at the proxy
    that let it pass. `Forwarded` (RFC 7239) and all other headers are not read.
    """
    networks = [ip_network(each) for each in trusted]

    def address_of(scope: Scope) -> str | None:
        peer = parse_address((scope.get("client") or ("",))[0])
        # A Unix socket, or a test client.
        if peer is None:
            return None
        if not networks:
            return None if peer.is_loopback else str(peer)
        found = peer
        forwarded = _forwarded_for(scope)
        while any(found in network for network in networks):
            entry = parse_address(next(forwarded, ""))
            if entry is None:
                break
            found = entry
        return str(found)

    return address_of


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
