"""Tokens that were valid a moment ago are remembered, but never beyond what they say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from chatcore import Accounts, Messenger, User
from chatcore.ports import Claims
from chatcore_argon2 import Argon2Hasher
from chatcore_jwt import JwtTokens
from chatcore_litestar import auth, create_app
from chatcore_memory import MemoryStore
from tests.integration.contract.api import Api, Someone, api_of
from tests.integration.contract.apps import SECRET, app_on

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Directory(MemoryStore):
    """Users can be deleted from it, and it counts the questions for them."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: set[int] = set()
        self.questions = 0

    async def user_by_id(self, user_id: int) -> User | None:
        self.questions += 1
        return None if user_id in self.gone else await super().user_by_id(user_id)


@asynccontextmanager
async def scene() -> AsyncIterator[tuple[Api, Clock, Directory]]:
    clock, store = Clock(), Directory()
    async with app_on(store, clock=clock) as app, api_of(app) as api:
        yield api, clock, store


async def status(api: Api, someone: Someone) -> int:
    return (await api.call("GET", "/chats", someone)).status_code


async def test_a_token_is_valid_for_12_hours_also_when_it_is_remembered() -> None:
    async with scene() as (api, clock, _):
        ann = await api.join("ann")
        clock.now += 12 * HOUR - SECOND
        assert await status(api, ann) == 200
        clock.now += SECOND
        assert await status(api, ann) == 401


async def test_the_user_is_asked_for_once_a_minute() -> None:
    async with scene() as (api, clock, store):
        ann = await api.join("ann")
        for _ in range(10):
            assert await status(api, ann) == 200
        assert store.questions == 1
        clock.now += 60 * SECOND
        assert await status(api, ann) == 200
        assert store.questions == 2


async def test_the_fixed_routes_and_v1_remember_together() -> None:
    async with scene() as (api, _, store):
        ann = await api.join("ann")
        for path in ("/v1/sync", "/chats", "/v1/chats", "/chats"):
            assert (await api.call("GET", path, ann)).status_code == 200
        assert store.questions == 1


async def test_a_deleted_user_is_out_after_a_minute_at_most() -> None:
    async with scene() as (api, clock, store):
        ann, bob = await api.join("ann"), await api.join("bob")
        assert await status(api, ann) == 200
        store.gone = {1, 2}
        # Bob's token has not been seen yet.
        assert await status(api, bob) == 401
        clock.now += 60 * SECOND
        answer = await api.call("GET", "/chats", ann)
        assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_what_is_not_valid_is_not_remembered() -> None:
    async with scene() as (api, clock, _):
        ann = await api.join("ann")
        clock.now -= HOUR
        assert await status(api, ann) == 401
        clock.now += HOUR
        assert await status(api, ann) == 200


async def test_so_many_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_a_token_over_4_kib_is_not_even_looked_at() -> None:
    lengths: list[int] = []

    class Listening(JwtTokens):
        def verify(self, token: str, now: datetime) -> Claims:
            lengths.append(len(token))
            return super().verify(token, now)

    store = MemoryStore()
    accounts = Accounts(store, Argon2Hasher(), Listening(SECRET))
    async with api_of(create_app(accounts, Messenger(store))) as api:
        for length in (4096, 4097, 1_000_000):
            assert await status(api, Someone("ann", "x" * length)) == 401
    assert lengths == [4096]
