"""In which order, and for how long, the servers of a URL are tried."""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from chatcore_postgres import InvalidUrl, read_url
from chatcore_postgres.failures import in_one_line
from chatcore_postgres.servers import (
    CONNECT_SECONDS,
    CONNECT_SECONDS_EACH,
    NoServer,
    Servers,
)
from tests.support.tls import Authority

pytestmark = pytest.mark.virtual_time

OFF = {"in_hot_standby": "off", "default_transaction_read_only": "off"}
PRIMARY = OFF
STANDBY = OFF | {"in_hot_standby": "on"}
READ_ONLY = OFF | {"default_transaction_read_only": "on"}


State = dict[str, str]


class Session:
    """A session of asyncpg on a server that reports this state, or answers a question about it.
    Without either, it froze after the session began."""

    def __init__(self, host: str, state: State, answer: tuple[bool, bool] | None = None) -> None:
        self.host = host
        self.state = state
        self.answer = answer
        self.ended = False
        self._transport = SimpleNamespace(get_extra_info=lambda _: None)

    def get_settings(self) -> SimpleNamespace:
        return SimpleNamespace(**self.state)

    async def fetchrow(self, _: str) -> tuple[bool, bool]:
        if self.answer is None:
            await asyncio.Event().wait()
        assert self.answer is not None
        return self.answer

    def terminate(self) -> None:
        self.ended = True


class World:
    """Servers by their host: the state that each reports or answers, its exception, or None for a
    server that accepts and never answers."""

    def __init__(self, **servers: State | tuple[bool, bool] | Exception | None) -> None:
        self.servers = servers
        self.tried: list[str] = []
        self.given: list[dict[str, Any]] = []
        self.sessions: list[Session] = []

    async def connect(self, dsn: str, *, host: str, **options: Any) -> Session:
        self.tried.append(host)
        self.given.append({"dsn": dsn, **options})
        found = self.servers[host]
        if found is None:
            await asyncio.Event().wait()
        if isinstance(found, Exception):
            raise found
        assert found is not None
        made = Session(host, {}, found) if isinstance(found, tuple) else Session(host, found)
        self.sessions.append(made)
        return self.sessions[-1]


Connect = Callable[[Servers], Any]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(asyncpg, "connect", world.connect)
    return world


def servers(hosts: str, query: str = "") -> Servers:
    return Servers(read_url(f"postgresql://ann:hush@{hosts}/chat?{query}", {}))


async def host_of(servers: Servers) -> str:
    session = await servers.connect({})
    assert not session.ended
    host: str = session.host
    return host


async def test_silent_server_costs_its_own_limit_once(world: World) -> None:
    world.servers = {"one": None, "two": PRIMARY}
    found = servers("one,two")
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await host_of(found) == "two"
    assert loop.time() - began == pytest.approx(CONNECT_SECONDS_EACH)
    for _ in range(3):
        assert await host_of(found) == "two"
    assert loop.time() - began == pytest.approx(CONNECT_SECONDS_EACH)
    assert world.tried == ["one", "two", "two", "two", "two"]


@pytest.mark.parametrize(
    ("hosts", "query", "seconds"),
    [
        ("one", "", CONNECT_SECONDS),
        ("one,two", "", 2 * CONNECT_SECONDS_EACH),
        ("one,two", "connect_timeout=30", 60),
        ("one,two", "connect_timeout=0", 2 * CONNECT_SECONDS_EACH),
    ],
)
async def test_silence_of_all_servers_ends(
    world: World, hosts: str, query: str, seconds: float
) -> None:
    world.servers = {"one": None, "two": None}
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(OSError, match=r"no answer within [0-9]+ seconds"):
        await servers(hosts, query).connect({})
    assert loop.time() - began == pytest.approx(seconds)


async def test_server_that_freezes_before_it_tells_its_state_is_given_up(world: World) -> None:
    world.servers = {"one": {}, "two": PRIMARY}
    assert await host_of(servers("one,two")) == "two"
    assert world.sessions[0].ended


async def test_failed_server_comes_last_and_the_good_one_first(world: World) -> None:
    world.servers = {"one": PRIMARY, "two": PRIMARY, "three": PRIMARY}
    found = servers("one,two,three")
    assert await host_of(found) == "one"
    world.servers["one"] = ConnectionRefusedError()
    assert await host_of(found) == "two"
    world.servers["one"] = PRIMARY
    assert await host_of(found) == "two"
    world.servers["two"] = ConnectionRefusedError()
    assert await host_of(found) == "three"


async def test_impatient_caller_does_not_meet_the_silent_server_for_ever(world: World) -> None:
    world.servers = {"one": None, "two": None, "three": PRIMARY}
    found = servers("one,two,three")
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS_EACH / 2):
                await found.connect({})
    async with asyncio.timeout(CONNECT_SECONDS_EACH / 2):
        assert await host_of(found) == "three"


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("any", "stand"),
        ("read-write", "prime"),
        ("primary", "fixed"),
        ("standby", "stand"),
        ("read-only", "stand"),
        ("prefer-standby", "stand"),
    ],
)
async def test_target_session_attrs_choose_the_server(world: World, target: str, host: str) -> None:
    world.servers = {"stand": STANDBY, "fixed": READ_ONLY, "prime": PRIMARY}
    found = servers("stand,fixed,prime", f"target_session_attrs={target}")
    assert await host_of(found) == host
    assert [session.host for session in world.sessions if not session.ended] == [host]


@pytest.mark.parametrize(("target", "host"), [("read-write", "three"), ("primary", "two")])
async def test_server_that_does_not_report_its_state_is_asked(
    world: World, target: str, host: str
) -> None:
    world.servers = {"one": (True, False), "two": (False, True), "three": (False, False)}
    assert await host_of(servers("one,two,three", f"target_session_attrs={target}")) == host


async def test_standby_is_preferred_but_not_needed(world: World) -> None:
    query = "target_session_attrs=prefer-standby"
    world.servers = {"one": PRIMARY, "two": STANDBY}
    assert await host_of(servers("one,two", query)) == "two"
    world.servers = {"one": PRIMARY, "two": ConnectionRefusedError()}
    assert await host_of(servers("one,two", query)) == "one"


async def test_each_server_without_a_session_is_explained(world: World) -> None:
    world.servers = {
        "one": STANDBY,
        "two": READ_ONLY,
        "three": None,
        "four": asyncpg.CannotConnectNowError("the database system is starting up"),
    }
    with pytest.raises(NoServer) as failed:
        await servers("one,two:7,three,four").connect({})
    assert in_one_line(failed.value) == (
        "no server of the URL can be used: one:5432: the server is a standby; two:7: the server is "
        "read-only by a setting (default_transaction_read_only); three:5432: no answer within 2 "
        "seconds; four:5432: the database system is starting up"
    )
    assert all(session.ended for session in world.sessions)


def refused(code: int, words: str) -> ssl.SSLCertVerificationError:
    failure = ssl.SSLCertVerificationError(1, "certificate verify failed")
    failure.verify_code, failure.verify_message = code, words
    return failure


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (refused(10, "certificate has expired"), "TLS: .* refused .*expired.: renew it, .*"),
        (refused(9, "certificate is not yet valid"), "TLS: .*set the clock of this machine"),
        (refused(18, "self-signed certificate"), "TLS: .*name the file of its authority with .*"),
        (refused(62, "Hostname mismatch."), "TLS: .*Hostname mismatch.: write the host .*"),
        (refused(23, "certificate revoked"), "TLS: .*.certificate revoked."),
        (ssl.SSLError(1, "what"), "TLS: the handshake with the server failed: .*"),
        (
            ConnectionError('PostgreSQL server at "one:5432" rejected SSL upgrade'),
            "TLS: the server offers no TLS .*",
        ),
        (
            ConnectionError(
                'PostgreSQL server at "one:5432": server sent an error response during '
                "SSL exchange; check the server logs for details"
            ),
            "TLS: PostgreSQL server at .*",
        ),
        (ConnectionAbortedError("SSL handshake is taking longer than 60 seconds"), "TLS: SSL .*"),
        (ConnectionResetError(104, "Connection reset by peer"), "(?!TLS).*reset by peer"),
        (ConnectionRefusedError(111, "Connect call failed"), "the connection was refused: .*"),
        (
            socket.gaierror(-2, "Name or service not known"),
            "the name of the host cannot be looked up: Name or service not known",
        ),
    ],
)
async def test_failure_is_one_line_that_says_whether_it_is_of_tls(
    failure: Exception, line: str, world: World
) -> None:
    assert re.fullmatch(line, in_one_line(failure))
    world.servers = {"one": failure, "two": failure}
    with pytest.raises(NoServer) as failed:
        await servers("one,two").connect({})
    reason = re.escape("no server of the URL can be used: one:5432: ")
    assert re.fullmatch(f"{reason}{line}; two:5432: {line}", in_one_line(failed.value))


@pytest.mark.parametrize(
    "failure",
    [
        asyncpg.InvalidPasswordError("password authentication failed"),
        asyncpg.InvalidCatalogNameError("database does not exist"),
    ],
)
async def test_refused_login_ends_the_search(world: World, failure: Exception) -> None:
    world.servers = {"one": failure, "two": PRIMARY}
    with pytest.raises(type(failure)):
        await servers("one,two").connect({})
    assert world.tried == ["one"]


async def test_settings_of_the_url_take_precedence(world: World) -> None:
    world.servers = {"one": PRIMARY}
    query = "Statement_Timeout=9s&options=-c%20jit%3Don%20--lock-timeout=1s&sslmode=require"
    own = {"application_name": "c", "statement_timeout": "5s", "jit": "off", "lock_timeout": "3s"}
    await servers("one", query).connect(own, command_timeout=7)
    [given] = world.given
    assert given["server_settings"] == {
        "application_name": "c",
        "Statement_Timeout": "9s",
        "options": "-c jit=on --lock-timeout=1s",
    }
    assert given["dsn"] == "postgresql://?sslmode=require"
    assert (given["user"], given["password"], given["command_timeout"]) == ("ann", "hush", 7)


async def test_random_order_is_that_of_the_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.shuffle", lambda order: order.reverse())
    world.servers = {"one": PRIMARY, "two": PRIMARY}
    assert await host_of(servers("one,two", "load_balance_hosts=random")) == "two"
    assert await host_of(servers("one,two")) == "one"


async def test_host_name_that_no_lookup_takes_is_a_failed_connection(world: World) -> None:
    world.servers = {"one": UnicodeError("label too long")}
    with pytest.raises(ConnectionError, match="label too long"):
        await servers("one").connect({})


@pytest.mark.parametrize(
    ("target", "fitting"),
    [
        ("any", [PRIMARY, STANDBY, READ_ONLY, {}]),
        ("read-write", [PRIMARY, {}]),
        ("primary", [PRIMARY, READ_ONLY, {}]),
    ],
)
async def test_reported_change_of_the_server_makes_its_session_a_misfit(
    target: str, fitting: list[State]
) -> None:
    found = servers("one,two", f"target_session_attrs={target}")
    for state in (PRIMARY, STANDBY, READ_ONLY, {}):
        assert (found.misfit(Session("one", state)) is None) == (state in fitting)


async def test_file_that_vanishes_later_is_named_too(world: World, tmp_path: Path) -> None:
    file = Authority(tmp_path).file
    found = servers("one", f"sslmode=verify-full&sslrootcert={file}")
    file.unlink()
    world.servers = {"one": FileNotFoundError(2, "No such file or directory")}
    with pytest.raises(ConnectionError, match=r"^TLS: sslrootcert in the PostgreSQL URL cannot be"):
        await found.connect({})


@pytest.mark.parametrize("name", ["sslrootcert", "sslcrl", "sslcert"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_unusable_file_is_refused_by_the_name_of_its_parameter(
    name: str, content: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_text(content)
    key = "&sslkey=/dev/null&sslpassword=hush" if name == "sslcert" else ""
    with pytest.raises(InvalidUrl, match=f"^TLS: {name} .*in the PostgreSQL URL") as refused:
        servers("one", f"sslmode=require&{name}={file}{key}")
    assert "hush" not in str(refused.value)
