"""Accounts of two processes whose clocks are half an hour apart, on each store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from chatcore import Accounts, InvalidToken, User
from chatcore.testing import VirtualClock
from chatcore_jwt import JwtTokens
from chatcore_memory import InsecureTestHasher
from tests.support.api import PASSWORD
from tests.support.apps import KINDS, SECRET, Store, in_another_process, store_of_kind

NEW = "staple of many batteries"
NOW = datetime.fromisoformat("2026-01-01T12:00:00+00:00")

Change = Callable[[Accounts, User], Awaitable[object]]
CHANGES: dict[str, Change] = {
    "logout": lambda accounts, user: accounts.log_out_everywhere(user),
    "password": lambda accounts, user: accounts.change_password(user, PASSWORD, NEW),
    "reset": lambda accounts, user: accounts.reset_password(user.name, NEW),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(
        request.getfixturevalue("postgres_url") if request.param == "postgres" else request.param
    )


@pytest.fixture
async def store(kind: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with store_of_kind(kind, tmp_path) as opened:
        yield opened


def accounts_on(store: Store, minutes: int) -> Accounts:
    """Accounts in a process whose clock is ahead by this many minutes."""
    clock = VirtualClock(NOW + timedelta(minutes=minutes))
    return Accounts(in_another_process(store), InsecureTestHasher(), JwtTokens(SECRET), clock=clock)


async def is_valid(accounts: Accounts, token: str) -> bool:
    try:
        await accounts.authenticate(token)
    except InvalidToken:
        return False
    return True


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_change_on_a_process_ahead_locks_nobody_out(change: Change, store: Store) -> None:
    here, ahead = accounts_on(store, 0), accounts_on(store, 30)
    ann = await here.register("ann", PASSWORD)
    old = [await accounts.log_in("ann", PASSWORD) for accounts in (here, ahead)]
    device = await here.devices.sign_in("ann", PASSWORD, "phone")
    await change(ahead, ann)
    password = PASSWORD if change is CHANGES["logout"] else NEW
    fresh = await here.log_in("ann", password)
    signed_in = await here.devices.sign_in("ann", password, "phone")
    for accounts in (here, ahead):
        assert await is_valid(accounts, fresh)
        assert await is_valid(accounts, signed_in.access_token)
        for token in (*old, device.access_token):
            assert not await is_valid(accounts, token)
    # The next change, on the other process, voids those, too.
    await here.log_out_everywhere(ann)
    for accounts in (here, ahead):
        assert not await is_valid(accounts, fresh)
        assert not await is_valid(accounts, signed_in.access_token)
        assert await is_valid(accounts, await here.log_in("ann", password))


async def test_session_signed_in_ahead_is_valid_everywhere_until_it_ends(store: Store) -> None:
    here, ahead = accounts_on(store, 0), accounts_on(store, 30)
    ann = await here.register("ann", PASSWORD)
    signed_in = await ahead.devices.sign_in("ann", PASSWORD, "phone")
    assert await is_valid(here, signed_in.access_token)
    await here.log_out_everywhere(ann)
    for accounts in (here, ahead):
        assert not await is_valid(accounts, signed_in.access_token)
