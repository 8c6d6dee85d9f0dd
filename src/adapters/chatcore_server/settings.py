"""The operator's settings: environment variables, and flags that override them."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Literal, Self, TypeVar

PREFIX = "CHATCORE_"

_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")

T = TypeVar("T")
Network = IPv4Network | IPv6Network


class CannotStart(Exception):
    """The service cannot run with these settings. The message is one line for the operator."""


def _setting(default: T, parse: Callable[[str], T], description: str, *, secret: bool = False) -> T:
    """Declare a setting. `parse` raises ValueError, whose message names the expected value."""
    made: T = field(
        default=default, repr=not secret, metadata={"parse": parse, "description": description}
    )
    return made


def _text(raw: str) -> str:
    if not raw:
        raise ValueError("a value that is not empty")
    return raw


def _switch(default: bool, description: str, *, off: str = "0", on: str = "1") -> bool:
    """Declare a setting with two values."""

    def parse(raw: str) -> bool:
        if raw not in {off, on}:
            raise ValueError(f"{off} or {on}")
        return raw == on

    metadata = {"parse": parse, "description": description, "values": (off, on)}
    made: bool = field(default=default, metadata=metadata)
    return made


def _origins(raw: str) -> tuple[str, ...]:
    """Parse origins as browsers write them (RFC 6454, section 6.2), separated by commas."""
    origins = tuple(part.strip() for part in raw.split(",") if part.strip())
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError("origins such as https://chat.example.com, separated by commas")
    return origins


def _networks(raw: str) -> tuple[Network, ...]:
    try:
        found = tuple(ip_network(each.strip()) for each in raw.split(","))
    except ValueError:
        raise ValueError("addresses and networks such as 10.0.0.0/8, separated by commas") from None
    if any(each.prefixlen == 0 for each in found):
        raise ValueError("the proxies, not every address")
    return found


def _texts(raw: str) -> tuple[str, ...]:
    if not (found := tuple(part.strip() for part in raw.split(","))) or not all(found):
        raise ValueError("values that are not empty, separated by commas")
    return found


def _realm(raw: str) -> str:
    # As the core checks it, whose import would slow --help.
    if not (1 <= len(raw) <= 256 and raw.isprintable() and " " not in raw):
        raise ValueError("1 to 256 visible characters")
    return raw


def _text_or_json(raw: str) -> str:
    if raw not in {"text", "json"}:
        raise ValueError("text or json")
    return raw


def _pooler(raw: str) -> Literal["transaction"]:
    if raw != "transaction":
        raise ValueError("transaction; in session mode nothing is to be set")
    return "transaction"


def _table(raw: str) -> str:
    if not all(raw.split(".")) or raw.count(".") > 1:
        raise ValueError("table or schema.table")
    return raw


def _address(raw: str) -> tuple[str, int]:
    host, _, port = raw.rpartition(":")
    try:
        return _text(host.removeprefix("[").removesuffix("]")), _number(1, 65535)(port)
    except ValueError:
        raise ValueError("address:port, such as 127.0.0.1:9464") from None


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        # int() alone would accept "+1", "1_0" and the digits of every script.
        if raw.isascii() and raw.isdecimal() and len(raw) < 10 and low <= int(raw) <= high:
            return int(raw)
        raise ValueError(f"a number from {low} to {high}")

    return parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one service. Each field is the variable `CHATCORE_<FIELD>`."""

    host: str = _setting(
        "127.0.0.1", _text, "the address or host name to listen on; 0.0.0.0 for all IPv4 addresses"
    )
    port: int = _setting(8000, _number(0, 65535), "the port to listen on; 0 for any free port")
    database_url: str = _setting(
        "sqlite:///chatcore.db",
        _text,
        "the database: sqlite:///relative/path, sqlite:////absolute/path, or\n"
        "postgresql://user:password@host/database, or host,host for a primary and standbys",
    )
    schema: str | None = _setting(
        None,
        _text,
        "the schema of PostgreSQL that holds the tables of chatcore, apart from those of other\n"
        "programs; by default, chatcore",
    )
    pooler: Literal["transaction"] | None = _setting(
        None,
        _pooler,
        "transaction: the database URL names a pooler in transaction mode, such as PgBouncer;\n"
        "needs a bus. In session mode, leave it out",
    )
    bus_url: str | None = _setting(
        None,
        _text,
        "the bus on which the nodes of one database ring for each other: valkey://host,\n"
        "redis://host or nats://host; by default, PostgreSQL itself",
    )
    secret: str | None = _setting(
        None,
        _text,
        "the key that signs tokens, 32 bytes or more; new:KEY,old:KEY signs with the\n"
        "new key and accepts tokens of the old key until they expire; by default, a key\n"
        "is generated and kept in a file beside the SQLite file",
        secret=True,
    )
    access_log: bool = _switch(
        False, "1 logs every request, which costs about a third of the throughput"
    )
    log: str = _setting("text", _text_or_json, "the format of log lines: text or json")
    metrics: tuple[str, int] | None = _setting(
        None,
        _address,
        "address:port of the Prometheus metrics, apart from the service; with several\n"
        "workers, the port of the first: each further worker takes the next port",
    )
    page: bool = _switch(True, "off disables the page at /", off="off", on="on")
    refuse_common_passwords: bool = _switch(
        False,
        "1 refuses the 10,000 most common passwords when a user registers or a password\n"
        "changes; recommended on the internet",
    )
    session_idle_days: int = _setting(
        30, _number(1, 3650), "days after which a device session expires that is not renewed"
    )
    session_days: int = _setting(
        180, _number(1, 3650), "days after the sign-in at which a device session expires"
    )
    cors_origins: tuple[str, ...] = _setting(
        (),
        _origins,
        "origins, separated by commas, whose pages may call the service from browsers;\n"
        "* for all; by default, only the service's own",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        (),
        _networks,
        "addresses and networks, separated by commas, of the proxies whose\n"
        "X-Forwarded-For names the client; by default, the connection's peer is the client",
    )
    workers: int = _setting(
        1,
        _number(1, 64),
        "processes that serve on the port; more than 1 need PostgreSQL, to which each\n"
        "has 6 connections",
    )
    max_connections: int = _setting(
        10_000,
        _number(1, 1_000_000),
        "connections that each process serves at once; more get 503",
    )

    keep_events: int = _setting(
        10_000,
        _number(1, 1_000_000),
        "events kept for each user; a client that missed more must read its chats again",
    )
    keep_events_days: int = _setting(30, _number(1, 36_500), "days that an event is kept")

    outbox_url: str | None = _setting(
        None,
        _text,
        "the database of a host whose outbox to drain: sqlite:///path,\n"
        "postgresql://user:password@host/database, or any other URL of SQLAlchemy;\n"
        "by default, none",
    )
    outbox_table: str = _setting("chat_outbox", _table, "the table of the outbox, or schema.table")

    jwks_url: str | None = _setting(
        None,
        _text,
        "the keys (JWKS) of an issuer whose users chat here, instead of accounts:\n"
        "https://host/path, or file:///path; by default, users register and log in here",
    )
    jwt_issuer: str | None = _setting(
        None, _realm, "the issuer of the tokens, exactly as in their claim iss"
    )
    jwt_audience: tuple[str, ...] = _setting(
        (), _texts, "the audiences, separated by commas, of which tokens name one in aud"
    )
    jwt_handle_claim: str = _setting("sub", _text, "the claim that has the user's handle")
    jwt_name_claim: str = _setting("name", _text, "the claim that has the name to show")
    jwt_realm: str | None = _setting(
        None, _realm, "the realm of the users; by default, the issuer; never change it"
    )

    @classmethod
    def read(cls, environment: Mapping[str, str], flags: Mapping[str, str | None]) -> Self:
        """Read the settings from the environment; a flag (by field name) that is not None takes
        precedence. Raises CannotStart for an invalid value."""
        values = {}
        for setting in fields(cls):
            raw, source = flags.get(setting.name), flag_of(setting)
            if raw is None:
                raw, source = environment.get(variable_of(setting)), variable_of(setting)
            if raw is not None:
                try:
                    values[setting.name] = setting.metadata["parse"](raw)
                except ValueError as error:
                    found = f"is {raw!r:.99}" if setting.repr else "is not valid"
                    raise CannotStart(f"{source} {found}; expected {error}") from None
        made = cls(**values)
        made._check_issuer()
        return made

    def _check_issuer(self) -> None:
        """Raise CannotStart if some of what tokens of an issuer need is missing."""
        needed = ("jwks_url", "jwt_issuer", "jwt_audience")
        missing = [PREFIX + name.upper() for name in needed if not getattr(self, name)]
        if missing and (len(missing) < len(needed) or self.jwt_realm):
            raise CannotStart(
                f"{' and '.join(missing)} missing: tokens of an issuer need all three"
            )

    @property
    def realm(self) -> str:
        """The realm of the users; empty for accounts."""
        return self.jwt_realm or self.jwt_issuer or ""

    def of_worker(self, number: int) -> Self:
        """The settings of one worker, numbered from 0."""
        if self.metrics is None:
            return self
        host, port = self.metrics
        return replace(self, metrics=(host, port + number))


def variable_of(setting: "Field[Any]") -> str:
    return PREFIX + setting.name.upper()


def flag_of(setting: "Field[Any]") -> str:
    return "--" + setting.name.replace("_", "-")


def unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each variable that has the prefix and names no setting."""
    known = [setting.name.upper() for setting in fields(Settings)]
    for name in sorted(environment):
        if name.startswith(PREFIX) and (word := name.removeprefix(PREFIX)) not in known:
            close = difflib.get_close_matches(word, known, n=1)
            hint = "".join(f"; did you mean {PREFIX}{guess}?" for guess in close)
            yield f"unknown setting {name}{hint}"
