"""Services on one database, on machines whose clocks differ."""

import asyncio
import io
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta

import httpx
import pytest

from chatcore.model import utc_now
from chatcore_argon2 import Argon2Hasher
from chatcore_litestar import auth
from chatcore_server import nodes
from chatcore_server.app import open_app
from chatcore_server.commands.passwd import set_password
from chatcore_server.settings import CannotStart, Settings
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.api import PASSWORD, Api, Someone, api_of
from tests.support.apps import SECRET

SECOND = timedelta(seconds=1)
AHEAD, BEHIND = 25 * SECOND, -25 * SECOND
ANOTHER = "staple of many batteries"


class Machine:
    """A machine whose clock is `skew` ahead."""

    def __init__(self, skew: timedelta) -> None:
        self.skew = skew

    def clock(self) -> datetime:
        return utc_now() + self.skew


@pytest.fixture(autouse=True)
def no_session_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a node would accept a void token that it has seen, for up to a minute."""
    monkeypatch.setattr(auth, "CACHE_SECONDS", 0)


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {"time_cost": 1, "memory_cost": 8}
    kept = Argon2Hasher.__init__.__kwdefaults__ or {}
    monkeypatch.setattr(Argon2Hasher.__init__, "__kwdefaults__", kept | quick)


@asynccontextmanager
async def services(url: str, *machines: Machine) -> AsyncIterator[list[Api]]:
    """Run a service on each machine, and yield a client for each."""
    settings = Settings(database_url=url, secret=SECRET)
    async with AsyncExitStack() as stack:
        apis = []
        for machine in machines:
            app = await stack.enter_async_context(open_app(settings, clock=machine.clock))
            apis.append(await stack.enter_async_context(api_of(app)))
        yield apis


async def log_in(api: Api, password: str = PASSWORD) -> Someone:
    answer = await api.log_in("ann", password)
    assert answer.status_code == 200, answer.text
    return Someone("ann", answer.json()["token"])


async def sign_in(api: Api, password: str = PASSWORD) -> tuple[Someone, str]:
    """Start a device session. Returns its access token and its refresh token."""
    start = {"username": "ann", "password": password, "device": "phone"}
    answer = await api.call("POST", "/v1/sessions", json=start)
    assert answer.status_code == 201, answer.text
    return Someone("ann", answer.json()["token"]), answer.json()["refresh_token"]


async def renew(api: Api, refresh_token: str) -> httpx.Response:
    return await api.call("POST", "/v1/sessions/renew", json={"refresh_token": refresh_token})


async def is_valid(api: Api, someone: Someone) -> bool:
    return (await api.call("GET", "/v1/me", someone)).status_code == 200


async def log_out_everywhere(api: Api, password: str) -> str:
    by = await log_in(api, password)
    answer = await api.call("POST", "/v1/logout-everywhere", by)
    assert answer.status_code == 204, answer.text
    return password


async def change_password(api: Api, password: str) -> str:
    by = await log_in(api, password)
    new = ANOTHER if password == PASSWORD else PASSWORD
    change = {"current_password": password, "new_password": new}
    answer = await api.call("PUT", "/v1/me/password", by, json=change)
    assert answer.status_code == 200, answer.text
    return new


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait for a line with this text."""
    async with asyncio.timeout(60):
        while text not in caplog.text:  # noqa: ASYNC110  no event is set
            await asyncio.sleep(0.01)


CHANGES: list[Callable[[Api, str], Awaitable[str]]] = [log_out_everywhere, change_password]


async def expect_void_and_fresh(apis: list[Api], password: str) -> str:
    """Every change on either node voids the tokens of both, and fresh ones are valid on both.
    Returns the password."""
    for change in CHANGES:
        for place in apis:
            old = [await log_in(api, password) for api in apis]
            devices = [await sign_in(api, password) for api in apis]
            password = await change(place, password)
            for api in apis:
                for someone in (*old, *(device for device, _ in devices)):
                    assert not await is_valid(api, someone)
                for _, refresh in devices:
                    assert (await renew(api, refresh)).status_code == 401
            for api in apis:
                fresh, (device, _) = await log_in(api, password), await sign_in(api, password)
                for each in apis:
                    assert await is_valid(each, fresh)
                    assert await is_valid(each, device)
    return password


async def test_logout_everywhere_locks_nobody_out_and_voids_every_token(
    postgres_url: str,
) -> None:
    async with services(postgres_url, Machine(AHEAD), Machine(BEHIND)) as apis:
        assert (await apis[0].register("ann")).status_code == 201
        await expect_void_and_fresh(apis, PASSWORD)


async def test_clock_that_is_set_while_the_service_runs_locks_nobody_out(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nodes, "EVERY_SECONDS", 0.01)
    machines = Machine(timedelta(0)), Machine(timedelta(0))
    async with services(postgres_url, *machines) as apis:
        assert (await apis[0].register("ann")).status_code == 201
        machines[0].skew, machines[1].skew = 600 * SECOND, -600 * SECOND
        for side in ("ahead of", "behind"):
            await logged(caplog, f"seconds {side} the database's")
        await expect_void_and_fresh(apis, PASSWORD)
        for api in apis:
            assert (await api.call("GET", "/readyz")).status_code == 200


async def test_renewal_is_repeated_on_a_node_with_another_clock(postgres_url: str) -> None:
    """A repetition counts for 60 seconds; these clocks are 50 seconds apart."""
    async with services(postgres_url, Machine(BEHIND), Machine(AHEAD)) as (behind, ahead):
        assert (await behind.register("ann")).status_code == 201
        _, refresh = await sign_in(behind)
        first, again = await renew(behind, refresh), await renew(ahead, refresh)
        assert first.json()["refresh_token"] == again.json()["refresh_token"]
        # By their own clocks, the node ahead issued it almost a minute from now.
        assert await is_valid(behind, Someone("ann", again.json()["token"]))


async def test_sent_at_follows_the_database_on_every_node(postgres_url: str) -> None:
    async with services(postgres_url, Machine(AHEAD), Machine(BEHIND)) as apis:
        ann, _, path = await apis[0].chat_by_id()
        began = utc_now()
        for n in range(6):
            answer = await apis[n % 2].call("POST", f"{path}/messages", ann, json={"text": f"{n}"})
            assert answer.status_code == 201
            sent_at = datetime.fromisoformat(answer.json()["sent_at"])
            assert began - 10 * SECOND < sent_at < utc_now() + 10 * SECOND


async def test_passwd_on_a_machine_ahead_locks_nobody_out(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(database_url=postgres_url, secret=SECRET)
    async with services(postgres_url, Machine(timedelta(0))) as [api]:
        assert (await api.register("ann")).status_code == 201
        old = await log_in(api)
        for skew in (3600 * SECOND, -3600 * SECOND):
            typed = io.BytesIO(ANOTHER.encode())
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(typed))
            await asyncio.to_thread(
                set_password, "ann", settings, lambda _: None, Machine(skew).clock
            )
            assert not await is_valid(api, old)
            assert await is_valid(api, await log_in(api, ANOTHER))
            old = await log_in(api, ANOTHER)


@pytest.mark.parametrize("skew", [120 * SECOND, -120 * SECOND])
async def test_service_with_a_wrong_clock_does_not_start(
    skew: timedelta, postgres_url: str
) -> None:
    with pytest.raises(CannotStart, match=r"^the clock of this machine is \d+ seconds [^\n]+$"):
        async with services(postgres_url, Machine(skew)):
            pass


async def test_file_has_the_clock_of_its_process(tmp_path: object) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path}/chatcore.db")
    async with open_app(settings, clock=Machine(3600 * SECOND).clock) as app, api_of(app) as api:
        assert (await api.register("ann")).status_code == 201
        assert await is_valid(api, await log_in(api))
    async with await SqlAlchemyStore.open(settings.database_url) as store:
        assert await store.time_us() is None
