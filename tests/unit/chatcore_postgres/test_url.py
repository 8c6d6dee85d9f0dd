"""What a PostgreSQL URL says, as libpq reads it, and the line that refuses an odd one."""

import re
from typing import Any

import pytest

from chatcore_postgres import InvalidUrl, PostgresUrl, read_url
from chatcore_postgres.parameters import KNOWN
from chatcore_sqlalchemy import CannotOpen, engine_of
from tests.support.repository import ROOT

PASSWORD = "hush/hush"
ESCAPED = "hush%2Fhush"


def read(url: str, **environment: str) -> PostgresUrl:
    return read_url(url, environment)


def refusal(url: str, **environment: str) -> str:
    with pytest.raises(InvalidUrl) as refused:
        read(url, **environment)
    line = str(refused.value)
    assert line.isprintable()
    assert "hush" not in line
    return line


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("postgresql://one/chat", [("one", 5432)]),
        ("postgres://one:1/chat", [("one", 1)]),
        ("postgresql://ann:x@one:1,two:2,three/chat", [("one", 1), ("two", 2), ("three", 5432)]),
        ("postgresql+asyncpg://one,two/chat", [("one", 5432), ("two", 5432)]),
        ("postgresql://[::1]:1,[fe80::1%25eth0]/chat", [("::1", 1), ("fe80::1%eth0", 5432)]),
        ("postgresql://%2Frun%2Fpg:1,one/chat", [("/run/pg", 1), ("one", 5432)]),
        ("postgresql:///chat?host=one,two&port=1,2", [("one", 1), ("two", 2)]),
        ("postgresql:///chat?host=one,two&port=7", [("one", 7), ("two", 7)]),
        ("postgresql:///chat?host=one,two&port=,2", [("one", 5432), ("two", 2)]),
        ("postgresql:///chat?host=one:1,[::1]:2,::1", [("one", 1), ("::1", 2), ("::1", 5432)]),
        ("postgresql:///chat?host=/run/pg,/srv/pg&port=1,2", [("/run/pg", 1), ("/srv/pg", 2)]),
        # SQLAlchemy's spelling.
        ("postgresql+asyncpg:///chat?host=one:1&host=two:2", [("one", 1), ("two", 2)]),
        # The parameters count.
        ("postgresql://one:1/chat?host=/run/pg", [("/run/pg", 5432)]),
        ("postgresql://one:1,two:2/chat?port=3", [("one", 3), ("two", 3)]),
        ("postgresql:///chat", [(None, None)]),
        ("postgresql:///chat?port=7", [(None, 7)]),
        ("postgresql:///?service=chat", [(None, None)]),
    ],
)
def test_servers_of_a_url(url: str, servers: list[tuple[str | None, int | None]]) -> None:
    assert [tuple(server) for server in read(url).servers] == servers


def test_login_and_database_are_unescaped() -> None:
    found = read(f"postgresql://a%40b:{ESCAPED}@one/the%20chat")
    assert (found.user, found.password, found.database) == ("a@b", PASSWORD, "the chat")
    assert "hush" not in repr(found)
    found = read(f"postgresql://x:y@one/z?user=ann&password={ESCAPED}&dbname=chat&passfile=/f")
    assert (found.user, found.password, found.database) == ("ann", PASSWORD, "chat")
    assert found.passfile == "/f"
    found = read("postgresql://one")
    assert (found.user, found.password, found.database) == (None, None, None)


def test_environment_stands_in_for_what_is_left_out() -> None:
    environment = {
        "PGHOST": "one,two",
        "PGPORT": "1,2",
        "PGCONNECT_TIMEOUT": "9",
        "PGTARGETSESSIONATTRS": "primary",
    }
    found = read("postgresql:///chat", **environment)
    assert [tuple(server) for server in found.servers] == [("one", 1), ("two", 2)]
    assert found.names_host
    assert not read("postgresql:///chat").names_host
    assert (found.connect_seconds, found.target) == (9, "primary")
    found = read("postgresql://three:3?connect_timeout=1&target_session_attrs=any", **environment)
    assert [tuple(server) for server in found.servers] == [("three", 3)]
    assert (found.connect_seconds, found.target) == (1, "any")
    assert "PGPORT has 2 ports for 1 hosts" in refusal("postgresql://one", PGPORT="1,2")
    assert "PGCONNECT_TIMEOUT" in refusal("postgresql://one", PGCONNECT_TIMEOUT="soon")
    assert "PGTARGETSESSIONATTRS" in refusal("postgresql://one", PGTARGETSESSIONATTRS="hush")


@pytest.mark.parametrize(("seconds", "limit"), [("3", 3), ("0", None), ("-1", None), ("", None)])
def test_connect_timeout_without_a_limit_is_the_default(seconds: str, limit: float | None) -> None:
    assert read(f"postgresql://one?connect_timeout={seconds}").connect_seconds == limit


def test_several_servers_default_to_one_that_takes_writes() -> None:
    assert read("postgresql://one").target == "any"
    assert read("postgresql://one,two").target == "read-write"
    assert read("postgresql://one,two?target_session_attrs=any").target == "any"
    assert read("postgresql://one?target_session_attrs=prefer-standby").target == "any"


@pytest.mark.parametrize("target", ["standby", "read-only", "prefer-standby"])
def test_target_without_writes_is_refused_for_a_store(target: str) -> None:
    url = f"postgresql://ann:{ESCAPED}@one,two/chat?target_session_attrs={target}"
    assert read(url).target == target
    with pytest.raises(InvalidUrl, match=f"^target_session_attrs={target} .*=read-write$"):
        read(url).expect_writable()


def test_parameters_go_to_the_session_the_driver_or_the_socket() -> None:
    found = read(
        "postgresql://one?application_name=a+b&statement_timeout=5s&my.setting=1&search_path="
        "&sslmode=require&sslrootcert=/a%26b.pem&krbsrvname=pg&service=chat"
        "&keepalives_idle=5&keepalives_interval=6&keepalives_count=7&tcp_user_timeout=8"
        "&fallback_application_name=c&connect_timeout=2&gssencmode=disable&sslcompression=0"
        "&client_encoding=utf8&prepared_statement_cache_size=9&load_balance_hosts=random"
    )
    assert found.settings == {
        "application_name": "a b",
        "statement_timeout": "5s",
        "my.setting": "1",
    }
    assert found.of_driver == {
        "sslmode": "require",
        "sslrootcert": "/a&b.pem",
        "krbsrvname": "pg",
        "service": "chat",
    }
    kept = found.keepalives
    assert (kept.on, kept.idle, kept.interval, kept.count) == (True, 5, 6, 7)
    assert kept.user_timeout == 8
    assert found.shuffled
    assert not read("postgresql://one?keepalives=0").keepalives.on
    named = read("postgresql://one?fallback_application_name=c").settings
    assert named == {"application_name": "c"}


@pytest.mark.parametrize(
    ("query", "mode"),
    [
        ("ssl=true", "require"),
        ("ssl=verify-ca", "verify-ca"),
        ("sslrootcert=system&sslmode=verify-full", "verify-full"),
    ],
)
def test_other_spellings_of_sslmode(query: str, mode: str) -> None:
    assert read(f"postgresql://one?{query}").of_driver["sslmode"] == mode


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sslmode=hush", "sslmode in the PostgreSQL URL is not valid; expected disable, allow, "),
        ("ssl=hush", "sslmode in the PostgreSQL URL is not valid"),
        ("connect_timeout=hush", "connect_timeout .* expected a number"),
        ("connect_timeout=99999999999999", "connect_timeout .* expected a number up to 86400"),
        ("keepalives=yes", "keepalives .* expected 0 or 1"),
        ("keepalives_count=128", "keepalives_count .* up to 127"),
        ("target_session_attrs=master", "target_session_attrs .* expected any, read-write, "),
        ("load_balance_hosts=all", "load_balance_hosts .* expected disable or random"),
        ("hostaddr=10.0.0.1", "does not support hostaddr .*: name the address as the host"),
        ("require_auth=hush", "does not support require_auth"),
        ("requirepeer=hush", "does not support requirepeer"),
        ("channel_binding=require", "channel_binding .* expected disable or prefer"),
        ("gssencmode=require", "gssencmode .* expected disable or prefer"),
        ("client_encoding=latin1", "client_encoding .* expected UTF8"),
        ("sslrootcert=system&sslmode=require", "sslrootcert=system .* needs sslmode=verify-full"),
        ("port=1,2", "port in the PostgreSQL URL has 2 ports for 1 hosts"),
        ("port=hush", "the port in the PostgreSQL URL is not a number"),
        ("password=a&hush", "is not name=value; an & within a value is written %26"),
        ("password=a#hush", "must be %-escaped there"),
        ("host=one,,two", "an empty host"),
    ],
)
def test_wrong_parameter_is_named_and_not_quoted(query: str, words: str) -> None:
    assert re.search(words, refusal(f"postgresql://ann:{ESCAPED}@one/chat?{query}"))


@pytest.mark.parametrize(
    "url",
    [
        *("postgresql:", "postgresql:/", "postgresql:chat", "postgresql//ann:hush@one/chat"),
        *("Postgres://ann:hush@one/chat", "postgre://ann:hush@one/chat", "psql://one/chat"),
        *("postgresql+psycopg://ann:hush@one/chat", "jdbc:postgresql://one/chat?password=hush"),
        *("psql postgresql://ann:hush@one/chat", "'postgresql://ann:hush@one/chat'"),
        *("DATABASE_URL=postgres://ann:hush@one/chat", "postgresql ://ann:hush@one/chat"),
        *("host=one dbname=chat password=hush", "one:5432/chat", "ann:hush@one/chat", "ann@one"),
        *("postgresql://ann:hush@[::1/chat", "postgresql://ann:hush@::1/chat"),
        *("postgresql://ann:hush@one:port/chat", "postgresql://ann:hush@one:0/chat"),
        *("postgresql://ann:hush@one:1,two:x/chat", "postgresql://ann:hush@one,/chat"),
        *(
            "postgresql://ann:hu/sh@one/chat",
            "postgresql://ann:hu?sh@one",
            "postgresql://a:hush#@b",
        ),
        *("postgresql://ann:hush@home@one/chat", "postgresql://ann:hush\n@one/chat"),
        *("postgresql://ann:hush%00@one/chat", "postgresql://ann:hush@one/chat?x"),
        *("postgresql://ann:hush@one/chat?=x", "postgresql://one?sslmode=hush"),
    ],
)
def test_odd_url_of_postgresql_is_refused_as_one(url: str) -> None:
    with pytest.raises(CannotOpen, match="PostgreSQL") as refused:
        engine_of(url)
    line = str(refused.value)
    assert line.isprintable()
    assert "hush" not in line
    assert "sqlite" not in line.lower()


@pytest.mark.parametrize("url", ["postgres.db", "mysql://host/chat", "chat", "x:y"])
def test_other_url_is_explained_for_both_databases(url: str) -> None:
    with pytest.raises(CannotOpen, match=r"sqlite:///.*postgresql://"):
        engine_of(url)


@pytest.mark.parametrize(
    ("spelling", "plain"),
    [
        ("postgresql+asyncpg://one,two/chat?ssl=require", "postgresql://one,two/chat?ssl=require"),
        ("sqlite+aiosqlite:///chat.db", "sqlite:///chat.db"),
    ],
)
def test_engine_of_a_url_drops_the_driver(spelling: str, plain: str) -> None:
    engine: Any = engine_of(spelling)
    assert engine.url == plain


def documented() -> str:
    text = (ROOT / "docs" / "running.md").read_text("utf-8")
    return text.partition("## The URL of PostgreSQL")[2].partition("\n## ")[0]


def test_every_parameter_is_documented() -> None:
    table = re.findall(r"^\| (.*?) \| .*? \|$", documented(), re.MULTILINE)
    named = {name for row in table for name in re.findall(r"`([a-z_]+)`", row)}
    assert named == {*KNOWN, "statement_timeout"}


def test_documented_urls_are_valid() -> None:
    urls = re.findall(r"^postgresql://.*$", documented(), re.MULTILINE)
    assert len(urls) == 4
    for url in urls:
        read(url).expect_writable()
