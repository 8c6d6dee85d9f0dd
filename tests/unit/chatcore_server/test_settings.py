"""Settings from the environment and the flags, and the values that are refused."""

import dataclasses
from ipaddress import ip_network
from typing import Any

import pytest

from chatcore_server.settings import CannotStart, Settings, unknown_variables

DEFAULTS = {
    "host": "127.0.0.1",
    "port": 8000,
    "database_url": "sqlite:///chatcore.db",
    "schema": None,
    "pooler": None,
    "bus_url": None,
    "secret": None,
    "access_log": False,
    "page": True,
    "refuse_common_passwords": False,
    "session_idle_days": 30,
    "session_days": 180,
    "cors_origins": (),
    "trusted_proxies": (),
    "workers": 1,
    "log": "text",
    "metrics": None,
    "max_connections": 10_000,
    "keep_events": 10_000,
    "keep_events_days": 30,
    "outbox_url": None,
    "outbox_table": "chat_outbox",
    "jwks_url": None,
    "jwt_issuer": None,
    "jwt_audience": (),
    "jwt_handle_claim": "sub",
    "jwt_name_claim": "name",
    "jwt_realm": None,
}


def test_settings_have_defaults() -> None:
    assert dataclasses.asdict(Settings.read({"PATH": "/bin", "PORT": "1"}, {})) == DEFAULTS


@pytest.mark.parametrize(
    ("environment", "flags", "changed"),
    [
        ({"CHATCORE_HOST": "::"}, {}, {"host": "::"}),
        ({"CHATCORE_PORT": "0"}, {}, {"port": 0}),
        ({"CHATCORE_PORT": "65535"}, {}, {"port": 65535}),
        ({"CHATCORE_DATABASE_URL": "sqlite:////a"}, {}, {"database_url": "sqlite:////a"}),
        ({"CHATCORE_SCHEMA": "chat"}, {}, {"schema": "chat"}),
        ({"CHATCORE_POOLER": "transaction"}, {}, {"pooler": "transaction"}),
        ({"CHATCORE_BUS_URL": "nats://a"}, {}, {"bus_url": "nats://a"}),
        ({"CHATCORE_SECRET": "x" * 32}, {}, {"secret": "x" * 32}),
        ({"CHATCORE_ACCESS_LOG": "1"}, {}, {"access_log": True}),
        ({"CHATCORE_ACCESS_LOG": "0"}, {}, {"access_log": False}),
        ({"CHATCORE_PAGE": "off"}, {}, {"page": False}),
        ({"CHATCORE_PAGE": "on"}, {}, {"page": True}),
        (
            {"CHATCORE_CORS_ORIGINS": "https://a.example, http://[::1]:8080"},
            {},
            {"cors_origins": ("https://a.example", "http://[::1]:8080")},
        ),
        ({"CHATCORE_REFUSE_COMMON_PASSWORDS": "1"}, {}, {"refuse_common_passwords": True}),
        ({"CHATCORE_SESSION_IDLE_DAYS": "7"}, {}, {"session_idle_days": 7}),
        ({"CHATCORE_SESSION_DAYS": "3650"}, {}, {"session_days": 3650}),
        ({"CHATCORE_CORS_ORIGINS": "*"}, {}, {"cors_origins": ("*",)}),
        (
            {"CHATCORE_TRUSTED_PROXIES": "10.0.0.0/8, ::1"},
            {},
            {"trusted_proxies": (ip_network("10.0.0.0/8"), ip_network("::1"))},
        ),
        ({"CHATCORE_MAX_CONNECTIONS": "1"}, {}, {"max_connections": 1}),
        ({"CHATCORE_KEEP_EVENTS": "1"}, {}, {"keep_events": 1}),
        ({"CHATCORE_KEEP_EVENTS_DAYS": "1"}, {}, {"keep_events_days": 1}),
        ({"CHATCORE_OUTBOX_URL": "sqlite:///a"}, {}, {"outbox_url": "sqlite:///a"}),
        ({"CHATCORE_OUTBOX_TABLE": "shop.outbox"}, {}, {"outbox_table": "shop.outbox"}),
        ({"CHATCORE_PORT": "1"}, {"port": "2"}, {"port": 2}),
        ({"CHATCORE_PORT": "1"}, {"port": None}, {"port": 1}),
        ({"CHATCORE_PORT": "wrong"}, {"port": "2"}, {"port": 2}),
        ({"CHATCORE_HOST": "a"}, {"port": "2"}, {"host": "a", "port": 2}),
    ],
)
def test_settings_are_read_from_the_environment(
    environment: dict[str, str], flags: dict[str, str | None], changed: dict[str, Any]
) -> None:
    assert dataclasses.asdict(Settings.read(environment, flags)) == DEFAULTS | changed


NO_PORT = "expected a number from 0 to 65535"
NO_ORIGIN = "expected origins such as https://chat.example.com, separated by commas"
NO_NETWORK = "expected addresses and networks such as 10.0.0.0/8, separated by commas"


@pytest.mark.parametrize(
    ("environment", "flags", "line"),
    [
        *(
            (
                {"CHATCORE_CORS_ORIGINS": raw},
                {},
                f"CHATCORE_CORS_ORIGINS is {raw!r}; {NO_ORIGIN}",
            )
            for raw in ("a.example", "https://a.example/", "https://A.example", "null")
        ),
        *(
            (
                {"CHATCORE_TRUSTED_PROXIES": raw},
                {},
                f"CHATCORE_TRUSTED_PROXIES is {raw!r}; {NO_NETWORK}",
            )
            for raw in ("", "proxy", "10.0.0.1/8", "10.0.0.1;10.0.0.2", "10.0.0.1,", "unix")
        ),
        (
            {"CHATCORE_TRUSTED_PROXIES": "::/0"},
            {},
            "CHATCORE_TRUSTED_PROXIES is '::/0'; expected the proxies, not every address",
        ),
        ({"CHATCORE_PORT": "x"}, {}, f"CHATCORE_PORT is 'x'; {NO_PORT}"),
        ({"CHATCORE_PORT": ""}, {}, f"CHATCORE_PORT is ''; {NO_PORT}"),
        ({"CHATCORE_PORT": "-1"}, {}, f"CHATCORE_PORT is '-1'; {NO_PORT}"),
        ({"CHATCORE_PORT": "65536"}, {}, f"CHATCORE_PORT is '65536'; {NO_PORT}"),
        ({"CHATCORE_PORT": "8_0"}, {}, f"CHATCORE_PORT is '8_0'; {NO_PORT}"),
        ({"CHATCORE_PORT": "٨٠"}, {}, f"CHATCORE_PORT is '٨٠'; {NO_PORT}"),
        ({"CHATCORE_PORT": "1" * 9999}, {}, f"CHATCORE_PORT is '{'1' * 98}; {NO_PORT}"),
        ({"CHATCORE_PORT": "80"}, {"port": "a\nb"}, rf"--port is 'a\nb'; {NO_PORT}"),
        (
            {"CHATCORE_POOLER": "session"},
            {},
            "CHATCORE_POOLER is 'session'; expected transaction; in session mode nothing is to be "
            "set",
        ),
        ({"CHATCORE_HOST": ""}, {}, "CHATCORE_HOST is ''; expected a value that is not empty"),
        ({}, {"database_url": ""}, "--database-url is ''; expected a value that is not empty"),
        ({"CHATCORE_ACCESS_LOG": "yes"}, {}, "CHATCORE_ACCESS_LOG is 'yes'; expected 0 or 1"),
        (
            {"CHATCORE_MAX_CONNECTIONS": "0"},
            {},
            "CHATCORE_MAX_CONNECTIONS is '0'; expected a number from 1 to 1000000",
        ),
    ],
)
def test_invalid_settings_are_refused(
    environment: dict[str, str], flags: dict[str, str | None], line: str
) -> None:
    with pytest.raises(CannotStart) as refused:
        Settings.read(environment, flags)
    assert str(refused.value) == line


def test_secret_is_not_shown() -> None:
    secret = "not for the eyes of others, ever"
    assert secret not in repr(Settings.read({"CHATCORE_SECRET": secret}, {}))


def test_empty_secret_is_refused() -> None:
    with pytest.raises(
        CannotStart, match="CHATCORE_SECRET is not valid; expected a value that is not empty"
    ):
        Settings.read({"CHATCORE_SECRET": ""}, {})


def test_unknown_variables_are_reported() -> None:
    environment = {"CHATCORE_PROT": "1", "CHATCORE_PORT": "1", "CHATCORE_": "", "PORT": "1"}
    assert list(unknown_variables(environment)) == [
        "unknown setting CHATCORE_",
        "unknown setting CHATCORE_PROT; did you mean CHATCORE_PORT?",
    ]
