"""What an operator can set: environment variables, and flags that override them."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Self, TypeVar

PREFIX = "CHATCORE_"

_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")

T = TypeVar("T")
Network = IPv4Network | IPv6Network


class CannotStart(Exception):
    """The service cannot run as it is set up. The message is one line for the operator."""


def _setting(default: T, parse: Callable[[str], T], description: str, *, secret: bool = False) -> T:
    """A setting; `parse` raises ValueError with what the value should have been."""
    made: T = field(
        default=default, repr=not secret, metadata={"parse": parse, "description": description}
    )
    return made


def _text(raw: str) -> str:
    if not raw:
        raise ValueError("empty")
    return raw


def _switch(default: bool, description: str, *, off: str = "0", on: str = "1") -> bool:
    """A setting with two values."""

    def parse(raw: str) -> bool:
        if raw not in {off, on}:
            raise ValueError(f"neither {off} nor {on}")
        return raw == on

    metadata = {"parse": parse, "description": description, "values": (off, on)}
    made: bool = field(default=default, metadata=metadata)
    return made


def _origins(raw: str) -> tuple[str, ...]:
    """Origins as browsers write them (RFC 6454, section 6.2), apart by commas."""
    origins = tuple(part.strip() for part in raw.split(",") if part.strip())
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError("not origins like https://chat.example.com, apart by commas")
    return origins


def _networks(raw: str) -> tuple[Network, ...]:
    try:
        found = tuple(ip_network(each.strip()) for each in raw.split(","))
    except ValueError:
        raise ValueError("not addresses and networks like 10.0.0.0/8, apart by commas") from None
    if any(each.prefixlen == 0 for each in found):
        raise ValueError("everybody; name the proxies")
    return found


def _text_or_json(raw: str) -> str:
    if raw not in {"text", "json"}:
        raise ValueError("neither text nor json")
    return raw


def _address(raw: str) -> tuple[str, int]:
    host, _, port = raw.rpartition(":")
    try:
        return _text(host.removeprefix("[").removesuffix("]")), _number(1, 65535)(port)
    except ValueError:
        raise ValueError("not address:port, as in 127.0.0.1:9464") from None


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        # int() alone would take "+1", "1_0" and the digits of every script.
        if raw.isascii() and raw.isdecimal() and len(raw) < 10 and low <= int(raw) <= high:
            return int(raw)
        raise ValueError(f"not a number from {low} to {high}")

    return parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one service runs. Each field is the variable `CHATCORE_<FIELD>`."""

    host: str = _setting(
        "127.0.0.1", _text, "the address or host name to listen on; 0.0.0.0 for all of IPv4"
    )
    port: int = _setting(8000, _number(0, 65535), "the port to listen on; 0 for any free one")
    database_url: str = _setting(
        "sqlite:///chatcore.db",
        _text,
        "where the data is: sqlite:///relative/path, sqlite:////absolute/path, or\n"
        "postgresql://user:password@host/database",
    )
    bus_url: str | None = _setting(
        None,
        _text,
        "over what the nodes of one database ring for each other: valkey://host,\n"
        "redis://host or nats://host; without it, over PostgreSQL itself",
    )
    secret: str | None = _setting(
        None,
        _text,
        "what tokens are signed with, 32 bytes or more; new:KEY,old:KEY signs with the\n"
        "first, and tokens of the second live out their time; without it, a key is made\n"
        "and kept in a file beside the SQLite file",
        secret=True,
    )
    access_log: bool = _switch(
        False, "1 logs every request, which costs about a third of the throughput"
    )
    log: str = _setting("text", _text_or_json, "text or json: how lines are logged")
    metrics: tuple[str, int] | None = _setting(
        None,
        _address,
        "address:port to serve Prometheus's metrics on, apart from the service; of\n"
        "several workers, each has its own port, beginning there",
    )
    page: bool = _switch(True, "off leaves out the page at /", off="off", on="on")
    refuse_common_passwords: bool = _switch(
        False,
        "1 refuses the 10,000 most common passwords where one is chosen; recommended\n"
        "on the internet",
    )
    cors_origins: tuple[str, ...] = _setting(
        (),
        _origins,
        "the origins, apart by commas, whose pages may use the service from browsers;\n"
        "* for all; without it, only its own",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        (),
        _networks,
        "the addresses and networks, apart by commas, of the proxies whose\n"
        "X-Forwarded-For tells who asks; without it, whom the service hears is who asks",
    )
    workers: int = _setting(
        1,
        _number(1, 64),
        "how many processes serve on the port; more than 1 need PostgreSQL, to which\n"
        "each has 6 connections",
    )
    max_connections: int = _setting(
        10_000,
        _number(1, 1_000_000),
        "how many connections each process serves at once; more get 503",
    )

    keep_events: int = _setting(
        10_000,
        _number(1, 1_000_000),
        "how many events of each user can still be followed; who missed more starts anew",
    )
    keep_events_days: int = _setting(30, _number(1, 36_500), "for how many days")

    @classmethod
    def read(cls, environment: Mapping[str, str], flags: Mapping[str, str | None]) -> Self:
        """The settings of an environment; a flag (by field name) that is not None comes
        first. Raises CannotStart for a value that is none."""
        values = {}
        for setting in fields(cls):
            raw, source = flags.get(setting.name), flag_of(setting)
            if raw is None:
                raw, source = environment.get(variable_of(setting)), variable_of(setting)
            if raw is not None:
                try:
                    values[setting.name] = setting.metadata["parse"](raw)
                except ValueError as error:
                    value = f"{raw!r:.99}, " if setting.repr else ""
                    raise CannotStart(f"{source} is {value}{error}") from None
        return cls(**values)

    def of_worker(self, number: int) -> Self:
        """What the worker of that number, from 0 on, serves by."""
        if self.metrics is None:
            return self
        host, port = self.metrics
        return replace(self, metrics=(host, port + number))


def variable_of(setting: "Field[Any]") -> str:
    return PREFIX + setting.name.upper()


def flag_of(setting: "Field[Any]") -> str:
    return "--" + setting.name.replace("_", "-")


def unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """A line for each variable that looks like a setting and is none."""
    known = [setting.name.upper() for setting in fields(Settings)]
    for name in sorted(environment):
        if name.startswith(PREFIX) and (word := name.removeprefix(PREFIX)) not in known:
            close = difflib.get_close_matches(word, known, n=1)
            yield f"{name} is no setting" + "".join(f"; {PREFIX}{guess} is" for guess in close)
