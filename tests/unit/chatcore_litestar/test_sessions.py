"""The session cache: valid tokens stay cached for a minute, and never beyond their expiry."""

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from chatcore import Accounts, Messenger, RequestHead, Session, StoreUnavailable, User
from chatcore.changes import changes_of
from chatcore.model import elapsed, utc_now
from chatcore.ports import Claims, Credentials
from chatcore.testing import VirtualClock
from chatcore_jwt import JwtTokens
from chatcore_litestar import auth, create_app
from chatcore_memory import InsecureTestHasher, MemoryStore
from tests.support.api import PASSWORD, Api, Someone, api_of
from tests.support.apps import SECRET, app_on, in_another_process

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


class Directory(MemoryStore):
    """Counts the reads of users, and lacks those in `gone`."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: set[int] = set()
        self.questions = 0

    async def credentials_by_id(self, user_id: int) -> Credentials | None:
        self.questions += 1
        return None if user_id in self.gone else await super().credentials_by_id(user_id)


@asynccontextmanager
async def scene() -> AsyncIterator[tuple[Api, VirtualClock, Directory]]:
    clock, store = VirtualClock(), Directory()
    async with app_on(store, clock=clock, seconds=clock.seconds) as app, api_of(app) as api:
        yield api, clock, store


async def status(api: Api, someone: Someone) -> int:
    return (await api.call("GET", "/chats", someone)).status_code


async def test_cached_token_is_valid_for_12_hours() -> None:
    async with scene() as (api, clock, _):
        ann = await api.join("ann")
        clock.advance(12 * HOUR - SECOND)
        assert await status(api, ann) == 200
        clock.now += SECOND
        assert await status(api, ann) == 401


async def test_user_is_read_from_the_store_once_a_minute() -> None:
    async with scene() as (api, clock, store):
        ann = await api.join("ann")
        store.questions = 0
        for _ in range(10):
            assert await status(api, ann) == 200
        assert store.questions == 1
        clock.advance(60 * SECOND)
        assert await status(api, ann) == 200
        assert store.questions == 2


async def test_fixed_routes_and_v1_share_the_session_cache() -> None:
    async with scene() as (api, _, store):
        ann = await api.join("ann")
        store.questions = 0
        for path in ("/v1/sync", "/chats", "/v1/chats", "/chats"):
            assert (await api.call("GET", path, ann)).status_code == 200
        assert store.questions == 1


async def test_failover_of_the_store_empties_the_session_cache() -> None:
    async with scene() as (api, _, store):
        ann = await api.join("ann")
        assert await status(api, ann) == 200
        store.gone.add(1)
        assert await status(api, ann) == 200
        changes_of(store).announce_failover()
        assert await status(api, ann) == 401


async def test_failover_repeats_a_lookup() -> None:
    login = Announcing(user_id=1, times=1)
    login.announce = lambda _: login.sessions.forget_all()
    found = await login.sessions.find("x")
    assert login.asked == 2
    assert login.sessions.cached("x") is found


async def test_renames_together_cost_one_pass_through_the_cache() -> None:
    looked_at: list[int] = []

    class Counted(User):
        @property
        def id(self) -> int:
            looked_at.append(self[0])
            return self[0]

    class Login:
        ambient = False

        def credential(self, request: RequestHead) -> str | None:
            return request.bearer_token()

        async def session(self, credential: Hashable) -> Session:
            return Session(Counted(int(str(credential)), str(credential), f"user {credential}"))

    sessions = auth.Sessions(Login(), utc_now, elapsed)
    verified = [await sessions.find(str(n)) for n in range(200)]
    looked_at.clear()
    for n in range(100):
        sessions.forget(n)
    again = [await sessions.find(str(n)) for n in range(200)]
    assert len(looked_at) == 200
    # Those of renamed users were verified again, those of others were not.
    assert [old is new for old, new in zip(verified, again, strict=True)] == [False] * 100 + [
        True
    ] * 100


class Announcing:
    """Announces a user while each of its first `times` lookups is under way."""

    ambient = False

    def __init__(self, user_id: int, times: int) -> None:
        self.user_id = user_id
        self.times = times
        self.asked = 0
        self.sessions = auth.Sessions(self, utc_now, elapsed)
        self.announce: Callable[[int], object] = self.sessions.forget

    def credential(self, request: RequestHead) -> str | None:
        return request.bearer_token()

    async def session(self, credential: Hashable) -> Session:
        self.asked += 1
        if self.asked <= self.times:
            self.announce(self.user_id)
        return Session(User(1, "1", "Ann"))


async def test_change_of_another_user_does_not_repeat_a_lookup() -> None:
    login = Announcing(user_id=2, times=1000)
    found = await login.sessions.find("x")
    assert login.asked == 1
    assert login.sessions.cached("x") is found


async def test_change_of_its_user_repeats_a_lookup() -> None:
    login = Announcing(user_id=1, times=1)
    found = await login.sessions.find("x")
    assert login.asked == 2
    assert login.sessions.cached("x") is found


async def test_user_that_changes_at_each_lookup_is_not_cached() -> None:
    login = Announcing(user_id=1, times=1000)
    found = await login.sessions.find("x")
    assert login.asked == auth.MAX_LOOKUPS
    assert login.sessions.cached("x") is None
    assert login.sessions.seconds_left(found) <= 0


async def test_deleted_user_is_refused_within_a_minute() -> None:
    async with scene() as (api, clock, store):
        ann, bob = await api.join("ann"), await api.join("bob")
        assert await status(api, ann) == 200
        store.gone = {1, 2}
        # Bob's token has not been seen yet.
        assert await status(api, bob) == 401
        clock.advance(60 * SECOND)
        answer = await api.call("GET", "/chats", ann)
        assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("shift", [-HOUR, HOUR])
async def test_setting_the_wall_clock_does_not_change_that_minute(shift: timedelta) -> None:
    async with scene() as (api, clock, store):
        ann = await api.join("ann")
        clock.now += HOUR
        assert await status(api, ann) == 200
        store.gone = {1}
        clock.now += shift
        clock.passed += 59
        assert await status(api, ann) == 200
        clock.passed += 1
        assert await status(api, ann) == 401


async def test_cached_token_expires_by_the_wall_clock() -> None:
    async with scene() as (api, clock, _):
        ann = await api.join("ann")
        assert await status(api, ann) == 200
        clock.now += 12 * HOUR
        assert await status(api, ann) == 401


async def test_invalid_token_is_not_cached() -> None:
    async with scene() as (api, clock, _):
        ann = await api.join("ann")
        clock.now -= HOUR
        assert await status(api, ann) == 401
        clock.now += HOUR
        assert await status(api, ann) == 200


async def test_session_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_SESSIONS", 3)
    async with scene() as (api, _, store):
        people = [await api.join("ann") for _ in range(4)]
        for someone in people:
            assert await status(api, someone) == 200
        store.questions = 0
        for someone in people[1:]:
            assert await status(api, someone) == 200
        assert store.questions == 0
        assert await status(api, people[0]) == 200
        assert store.questions == 1


@pytest.mark.parametrize("how", ["password", "everywhere", "erased"])
async def test_void_token_is_refused_at_once_here_and_within_a_minute_elsewhere(how: str) -> None:
    clock, store = VirtualClock(), MemoryStore()
    async with (
        app_on(store, clock=clock, seconds=clock.seconds) as here,
        app_on(in_another_process(store), clock=clock, seconds=clock.seconds) as there,
        api_of(here) as api,
        api_of(there) as other,
    ):
        ann, bob = await api.chat()
        tokens = [ann, Someone(ann.name, (await other.log_in(ann.name)).json()["token"])]
        for someone in (*tokens, bob):
            assert await status(api, someone) == await status(other, someone) == 200
        answer = await void(api, ann, how)
        assert [await status(api, someone) for someone in tokens] == [401, 401]
        # The other node still has the token in its cache.
        assert await status(other, ann) == 200
        clock.advance(60 * SECOND)
        assert [await status(other, someone) for someone in tokens] == [401, 401]
        assert await status(api, bob) == await status(other, bob) == 200
        if how == "password":
            new = Someone(ann.name, answer.json()["token"])
            assert await status(api, new) == await status(other, new) == 200
        if how == "erased":
            assert (await other.log_in(ann.name)).status_code == 401
            assert (await other.register(ann.name)).status_code == 400


async def void(api: Api, by: Someone, how: str) -> httpx.Response:
    """Void all tokens of the user in one of three ways."""
    method, path, body = {
        "password": (
            *("PUT", "/v1/me/password"),
            {"current_password": PASSWORD, "new_password": "another password"},
        ),
        "everywhere": ("POST", "/v1/logout-everywhere", None),
        "erased": ("DELETE", "/v1/me", {"password": PASSWORD}),
    }[how]
    answer = await api.call(method, path, by, json=body)
    assert answer.status_code in {200, 204}
    return answer


async def test_refused_request_ends_no_session() -> None:
    async with scene() as (api, _, store):
        ann = await api.join("ann")
        assert await status(api, ann) == 200
        for method, path, body in [
            ("PUT", "/v1/me/password", {"current_password": "x", "new_password": "long enough"}),
            ("PUT", "/v1/me/password", {"current_password": PASSWORD, "new_password": "short"}),
            ("DELETE", "/v1/me", {"password": "x"}),
            ("DELETE", "/v1/me", {}),
        ]:
            assert (await api.call(method, path, ann, json=body)).status_code in {400, 403, 422}
        store.questions = 0
        assert await status(api, ann) == 200
        assert store.questions == 0


class Unsure(MemoryStore):
    """Fails after the write if `failing`, and runs `reading` during the next read."""

    failing = False
    reading: Callable[[], Awaitable[None]] | None = None

    async def void_tokens(self, *args: Any, **options: Any) -> int:
        from_us = await super().void_tokens(*args, **options)
        if self.failing:
            raise StoreUnavailable
        return from_us

    async def credentials_by_id(self, user_id: int) -> Credentials | None:
        found = await super().credentials_by_id(user_id)
        if self.reading is not None:
            interruption, self.reading = self.reading, None
            await interruption()
        return found


async def test_failed_logout_clears_the_session_cache() -> None:
    store = Unsure()
    async with app_on(store) as app, api_of(app) as api:
        ann = await api.join("ann")
        assert await status(api, ann) == 200
        store.failing = True
        assert (await api.call("POST", "/v1/logout-everywhere", ann)).status_code == 503
        assert await status(api, ann) == 401


async def test_token_voided_during_its_check_is_refused() -> None:
    clock, store = VirtualClock(), Unsure()
    async with app_on(store, clock=clock, seconds=clock.seconds) as app, api_of(app) as api:
        ann = await api.join("ann")
        clock.now += SECOND
        other = Someone(ann.name, (await api.log_in(ann.name)).json()["token"])
        assert await status(api, other) == 200

        async def interruption() -> None:
            await void(api, other, "everywhere")

        store.reading = interruption
        assert await status(api, ann) == 401


async def test_token_over_4_kib_is_refused_unread() -> None:
    lengths: list[int] = []

    class Listening(JwtTokens):
        def verify(self, token: str, now: datetime) -> Claims:
            lengths.append(len(token))
            return super().verify(token, now)

    store = MemoryStore()
    accounts = Accounts(store, InsecureTestHasher(), Listening(SECRET))
    async with api_of(create_app(accounts, Messenger(store))) as api:
        for length in (4096, 4097, 1_000_000):
            assert await status(api, Someone("ann", "x" * length)) == 401
    assert lengths == [4096]
