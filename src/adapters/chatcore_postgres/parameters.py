"""The parameters of a PostgreSQL URL: those of libpq, and how chatcore takes each.

A parameter that is none of them is a setting of the session, and goes to the server.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote_plus


class InvalidUrl(ValueError):
    """The URL cannot be used. The message is one line for the operator and holds no password."""


TARGETS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_PROTOCOLS = ("3.0", "3.2", "latest")

_PLACE = {"host", "port", "dbname", "database", "user", "password", "passfile"}

OF_DRIVER = {
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslnegotiation"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    *("krbsrvname", "gsslib", "service"),
}
"""Parameters that asyncpg itself reads."""

_CHOICES = {
    "target_session_attrs": TARGETS,
    "load_balance_hosts": ("disable", "random"),
    "keepalives": ("0", "1"),
    "sslmode": SSL_MODES,
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    # Values that ask for nothing that asyncpg lacks.
    "gssencmode": ("disable", "prefer"),
    "channel_binding": ("disable", "prefer"),
    "gssdelegation": ("0",),
    "sslcertmode": ("allow",),
    "sslcompression": ("0", "1"),
    "sslsni": ("1",),
    "min_protocol_version": ("3.0",),
    "max_protocol_version": _PROTOCOLS,
    "client_encoding": ("UTF8", "utf8", "UTF-8", "utf-8", "auto"),
}

# The largest values that Linux takes.
_NUMBERS = {
    "connect_timeout": 86_400,
    "keepalives_idle": 32_767,
    "keepalives_interval": 32_767,
    "keepalives_count": 127,
    "tcp_user_timeout": 2**31 - 1,
}

_UNSUPPORTED = {
    "hostaddr": "name the address as the host",
    "requiressl": "write sslmode=require",
    "sslcrldir": "name one file with sslcrl",
    **dict.fromkeys(
        (
            *("oauth_client_id", "oauth_client_secret", "oauth_issuer", "oauth_scope"),
            *("replication", "require_auth", "requirepeer"),
            *("scram_client_key", "scram_server_key", "servicefile", "sslkeylogfile"),
        ),
        "leave it out",
    ),
}

_OF_CLIENT = _PLACE | OF_DRIVER | {*_CHOICES, *_NUMBERS, "fallback_application_name"}
KNOWN = sorted({*_OF_CLIENT, *_UNSUPPORTED, "application_name", "options"})
"""Every parameter of libpq, for guesses at a misspelt one."""

# SQLAlchemy's own, about its dialect.
_OF_SQLALCHEMY = "prepared_statement_"

_IN_OPTIONS = re.compile(r"(?:-c\s*|--)([\w.-]+)\s*=")


class Parameters(NamedTuple):
    """The query of a URL, its values checked."""

    of_client: Mapping[str, str]
    """Parameters of libpq for the client."""
    settings: Mapping[str, str]
    """Settings of the session."""

    def number(self, name: str, otherwise: int) -> int:
        return int(self.of_client.get(name, otherwise))


def read_parameters(query: str) -> Parameters:
    """Read and check the query of a URL. Raises InvalidUrl, which names the parameter."""
    of_client: dict[str, str] = {}
    settings: dict[str, str] = {}
    for name, value in _pairs(query):
        if name.startswith(_OF_SQLALCHEMY) or not value:
            continue
        if name in _UNSUPPORTED:
            raise InvalidUrl(
                f"chatcore does not support {name} in a PostgreSQL URL: {_UNSUPPORTED[name]}"
            )
        if name == "ssl":
            # JDBC's `ssl=true`, which libpq takes too; in SQLAlchemy's URLs, `ssl` is `sslmode`.
            name, value = "sslmode", "require" if value == "true" else value
        if name == "host" and "host" in of_client:
            # SQLAlchemy's spelling of several hosts.
            value = f"{of_client['host']},{value}"
        _check(name, value)
        (of_client if name in _OF_CLIENT else settings)[name] = value
    if "fallback_application_name" in of_client:
        settings.setdefault("application_name", of_client["fallback_application_name"])
    return Parameters(of_client, settings)


def overridden(settings: Mapping[str, str]) -> set[str]:
    """The names, in lower case, of all that these settings set, `options` included."""
    in_options = _IN_OPTIONS.findall(settings.get("options", ""))
    return {name.lower().replace("-", "_") for name in (*settings, *in_options)}


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise InvalidUrl(
                "a parameter in the PostgreSQL URL is not name=value; an & within a value is "
                "written %26"
            )
        yield unquote_plus(name), unquote_plus(value)


def _check(name: str, value: str) -> None:
    expected = ""
    if name in _CHOICES and value not in _CHOICES[name]:
        *others, last = _CHOICES[name]
        expected = f"{', '.join(others)} or {last}" if others else last
    elif name in _NUMBERS:
        digits = value.strip().removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and int(digits[:11]) <= _NUMBERS[name]):
            expected = f"a number up to {_NUMBERS[name]}"
    if expected:
        raise InvalidUrl(f"{name} in the PostgreSQL URL is not valid; expected {expected}")
