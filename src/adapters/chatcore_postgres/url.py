"""Reads a PostgreSQL URL as libpq does: its servers, its login, its parameters."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote

from chatcore_postgres.keepalives import Keepalives
from chatcore_postgres.parameters import (
    OF_DRIVER,
    TARGETS,
    InvalidUrl,
    Parameters,
    read_parameters,
)

__all__ = ["EXAMPLE", "InvalidUrl", "PostgresUrl", "Server", "read_url"]

EXAMPLE = "postgresql://user:password@host/database"
PORT = 5432

_SCHEMES = {"postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg"}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")
_PARTS = re.compile(r"//([^/?#]*)([^?]*)\??(.*)", re.DOTALL)
_HOST = re.compile(r"(\[[^][]*\]|[^][:]*)(?::(.*))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]|%00")


class Server(NamedTuple):
    """One server of a URL. Without a host, it is where asyncpg looks by default, or where a
    service file says."""

    host: str | None
    """A name, an address, or the directory of a socket."""
    port: int | None

    def __str__(self) -> str:
        if self.host is None:
            return "the default host"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresUrl:
    """A PostgreSQL URL that was read and checked. None leaves a value to asyncpg's defaults."""

    servers: tuple[Server, ...]
    """In the order of the URL; at least one."""
    names_host: bool
    shuffled: bool
    """Whether each process tries the servers in an order of its own."""
    target: str
    """`target_session_attrs`: which state of a server a session needs."""
    user: str | None
    password: str | None = field(repr=False)
    passfile: str | None
    database: str | None
    connect_seconds: float | None
    """The limit for each server; None for chatcore's own."""
    keepalives: Keepalives
    settings: Mapping[str, str] = field(repr=False)
    """Settings of the session."""
    of_driver: Mapping[str, str] = field(repr=False)
    """Parameters that asyncpg itself reads."""

    def expect_writable(self) -> None:
        """Raise InvalidUrl if `target_session_attrs` asks for a server that takes no writes."""
        if self.target in {"standby", "read-only", "prefer-standby"}:
            raise InvalidUrl(
                f"target_session_attrs={self.target} in the PostgreSQL URL asks for a server that "
                "takes no writes, which chatcore needs: write target_session_attrs=read-write"
            )


def read_url(url: str, environment: Mapping[str, str] = os.environ) -> PostgresUrl:
    """Read `postgresql://[user[:password]@][host[:port]][,…][/database][?parameters]`.

    A parameter takes precedence over what stands before it. SQLAlchemy's spelling of the
    scheme means the same. PGHOST, PGPORT, PGCONNECT_TIMEOUT and PGTARGETSESSIONATTRS stand in for
    what the URL leaves out; other variables of libpq are left to asyncpg. Raises InvalidUrl.
    """
    authority, path, query = _split(url)
    login, _, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    parameters = read_parameters(query)
    given = parameters.of_client
    servers = _servers(hosts, parameters, environment)
    target = given.get("target_session_attrs") or environment.get("PGTARGETSESSIONATTRS")
    if target is not None and target not in TARGETS:
        raise InvalidUrl(f"PGTARGETSESSIONATTRS is not valid; expected one of {', '.join(TARGETS)}")
    several = len(servers) > 1
    if target == "prefer-standby" and not several:
        # There is none to prefer it to.
        target = "any"
    timeout = given.get("connect_timeout") or environment.get("PGCONNECT_TIMEOUT", "0")
    if not re.fullmatch(r"\s*-?[0-9]{1,9}\s*", timeout):
        raise InvalidUrl("PGCONNECT_TIMEOUT is not valid; expected a number of seconds")
    return PostgresUrl(
        servers=servers,
        names_host=servers[0].host is not None or "service" in given,
        shuffled=given.get("load_balance_hosts") == "random",
        target=target or ("read-write" if several else "any"),
        user=given.get("user") or unquote(user) or None,
        password=given.get("password") or unquote(password) or None,
        passfile=given.get("passfile"),
        database=given.get("dbname") or given.get("database") or unquote(path[1:]) or None,
        connect_seconds=max(0, int(timeout)) or None,
        keepalives=_keepalives(parameters),
        settings=parameters.settings,
        of_driver=_of_driver(given),
    )


def _split(url: str) -> tuple[str, str, str]:
    """The authority, the path and the query of a URL."""
    scheme, _, rest = url.partition(":")
    if scheme not in _SCHEMES and _SCHEME.fullmatch(scheme) and rest.startswith("//"):
        raise InvalidUrl(
            f"a PostgreSQL URL begins with postgresql:// or postgresql+asyncpg://, not with "
            f"{scheme}: write postgresql:// for it and leave the rest, as in {EXAMPLE}"
        )
    if scheme not in _SCHEMES or not rest.startswith("//"):
        raise InvalidUrl(f"a PostgreSQL URL begins with postgresql://, as in {EXAMPLE}")
    if _CONTROL.search(url):
        raise InvalidUrl("the PostgreSQL URL contains a control character: leave it out")
    authority, path, query = _PARTS.fullmatch(rest).groups()  # type: ignore[union-attr]
    # An unescaped / or ? in a password ends the authority before the host.
    cut = path if _ports_are_valid(authority) else f"{path}?{query}"
    if authority.count("@") > 1 or "#" in rest or ("@" not in authority and "@" in cut):
        raise InvalidUrl(
            "the user or the password in the PostgreSQL URL has a character that must be "
            "%-escaped there (/ as %2F, ? as %3F, # as %23, @ as %40), as in "
            "postgresql://user:pass%2Fword@host/database"
        )
    return authority, path, query


def _ports_are_valid(authority: str) -> bool:
    found = (_HOST.fullmatch(host) for host in authority.rpartition("@")[2].split(","))
    return all(host is None or not host[2] or _is_port(unquote(host[2])) for host in found)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 65536


def _servers(
    authority: str, parameters: Parameters, environment: Mapping[str, str]
) -> tuple[Server, ...]:
    given = parameters.of_client
    if authority and "host" not in given:
        found = [_of_authority(host) for host in authority.split(",")]
    else:
        # Which hosts a service file names, only asyncpg reads.
        default = "" if "service" in given else environment.get("PGHOST", "")
        found = [_of_parameter(host) for host in given.get("host", default).split(",")]
    if len(found) > 1 and any(not host for host, _ in found):
        raise InvalidUrl("the PostgreSQL URL has an empty host in its list of hosts")
    source, ports = "port in the PostgreSQL URL", given.get("port")
    if ports is None and not any(port for _, port in found):
        source, ports = "PGPORT", environment.get("PGPORT")
    listed = (ports or "").split(",")
    if len(listed) not in {1, len(found)}:
        raise InvalidUrl(f"{source} has {len(listed)} ports for {len(found)} hosts")
    # A parameter takes precedence over a port beside a host.
    listed = listed * len(found) if len(listed) == 1 else listed
    servers = []
    for (host, own), other in zip(found, listed, strict=True):
        port = other or own
        if port and not _is_port(port):
            raise InvalidUrl(
                "the port in the PostgreSQL URL is not a number from 1 to 65535; expected for "
                "example postgresql://user:password@host:5432/database"
            )
        otherwise = PORT if host else None
        servers.append(Server(host or None, int(port) if port else otherwise))
    return tuple(servers)


def _of_authority(text: str) -> tuple[str, str]:
    """A host and the port after it, or nothing; both %-escaped."""
    host, port = _host_and_port(text)
    return unquote(host), unquote(port)


def _of_parameter(text: str) -> tuple[str, str]:
    """As `_of_authority`, of a parameter, where libpq writes IPv6 without brackets, too."""
    is_address = text.count(":") > 1 and "[" not in text
    return (text, "") if is_address or text.startswith("/") else _host_and_port(text)


def _host_and_port(text: str) -> tuple[str, str]:
    if (found := _HOST.fullmatch(text)) is None:
        raise InvalidUrl(
            "the host in the PostgreSQL URL cannot be read; an IPv6 address stands in brackets, as "
            "in postgresql://user:password@[::1]:5432/database"
        )
    return found[1].strip("[]"), found[2] or ""


def _keepalives(parameters: Parameters) -> Keepalives:
    default = Keepalives()
    return Keepalives(
        on=parameters.of_client.get("keepalives") != "0",
        idle=parameters.number("keepalives_idle", default.idle),
        interval=parameters.number("keepalives_interval", default.interval),
        count=parameters.number("keepalives_count", default.count),
        user_timeout=parameters.number("tcp_user_timeout", default.user_timeout),
    )


def _of_driver(given: Mapping[str, str]) -> dict[str, str]:
    of_driver = {name: given[name] for name in given if name in OF_DRIVER}
    system = of_driver.get("sslrootcert") == "system"
    if system and of_driver.get("sslmode", "verify-full") != "verify-full":
        # As in libpq: these authorities vouch for any host on the internet.
        raise InvalidUrl(
            "sslrootcert=system in the PostgreSQL URL needs sslmode=verify-full, which checks the "
            "name of the host too"
        )
    return of_driver
