"""Password changes, logout everywhere, and erasure of accounts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest

from chatcore import (
    Accounts,
    InvalidPassword,
    InvalidToken,
    NameTaken,
    User,
    UserNotFound,
    WrongCredentials,
)
from chatcore.names import UserName
from chatcore.ports import Credentials
from chatcore.testing import VirtualClock
from chatcore_jwt import JwtTokens
from chatcore_memory import InsecureTestHasher, MemoryStore

OLD, NEW, OTHER = "correct horse battery", "staple of many batteries", "no horse at all, today"
START = datetime(2026, 1, 1, 0, 0, 0, 900_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SECRET = "a secret of thirty-two bytes, ok"

Change = Callable[[Accounts, User], Awaitable[object]]

CHANGES: dict[str, Change] = {
    "password": lambda accounts, user: accounts.change_password(user, OLD, NEW),
    "reset": lambda accounts, user: accounts.reset_password(user.name, NEW),
    "logout": lambda accounts, user: accounts.log_out_everywhere(user),
    "erase": lambda accounts, user: accounts.erase(user, OLD),
}


class HeldHasher(InsecureTestHasher):
    """Holds its next verification or hash until `free` is set."""

    def __init__(self, rounds: int = 1) -> None:
        super().__init__(rounds)
        self.hold = ""
        self.reached, self.free = asyncio.Event(), asyncio.Event()

    async def verify(self, password: str, password_hash: str | None) -> bool:
        verified = await super().verify(password, password_hash)
        await self._wait("verify")
        return verified

    async def hash(self, password: str) -> str:
        hashed = await super().hash(password)
        await self._wait("hash")
        return hashed

    async def _wait(self, what: str) -> None:
        if self.hold == what:
            self.hold = ""
            self.reached.set()
            await self.free.wait()

    @asynccontextmanager
    async def during(self, what: str, call: Awaitable[object]) -> AsyncIterator[None]:
        """Run the block while the call waits in that step; then let the call finish."""
        self.hold = what
        task = asyncio.ensure_future(call)
        async with asyncio.timeout(60):
            await self.reached.wait()
            yield
            self.free.set()
            await asyncio.wait([task])


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


@pytest.fixture
def hasher() -> HeldHasher:
    return HeldHasher()


@pytest.fixture
def accounts(store: MemoryStore, hasher: HeldHasher, clock: VirtualClock) -> Accounts:
    return Accounts(store, hasher, JwtTokens(SECRET), clock=clock)


@pytest.fixture
async def ann(accounts: Accounts) -> User:
    return await accounts.register("Ann", OLD)


async def is_void(accounts: Accounts, token: str) -> bool:
    try:
        await accounts.authenticate(token)
    except InvalidToken:
        return True
    return False


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_change_voids_every_earlier_token_at_once(
    accounts: Accounts, clock: VirtualClock, ann: User, change: Change
) -> None:
    await accounts.register("bob", OLD)
    tokens, other = [], await accounts.log_in("bob", OLD)
    for seconds in (0, 0.05, 0.1, 3600):
        clock.advance(seconds * SECOND)
        tokens.append(await accounts.log_in("ann", OLD))
    assert not any([await is_void(accounts, token) for token in tokens])
    await change(accounts, ann)
    for seconds in (0, 1, 10, 3600):
        clock.advance(seconds * SECOND)
        assert all([await is_void(accounts, token) for token in tokens])
        assert not await is_void(accounts, other)


@pytest.mark.parametrize("fraction", [0, 1, 500_000, 999_999])
async def test_token_issued_right_after_a_change_is_valid(
    accounts: Accounts, clock: VirtualClock, ann: User, fraction: int
) -> None:
    clock.now = START.replace(microsecond=fraction)
    old = await accounts.log_in("ann", OLD)
    tokens = [await accounts.change_password(ann, OLD, NEW), await accounts.log_in("ann", NEW)]
    for seconds in (0, 0.5, 1, 9, 20, 3600):
        clock.advance(seconds * SECOND)
        assert not any([await is_void(accounts, token) for token in tokens])
        assert await is_void(accounts, old)
    await accounts.log_out_everywhere(ann)
    assert all([await is_void(accounts, token) for token in tokens])
    assert not await is_void(accounts, await accounts.log_in("ann", NEW))


async def test_consecutive_changes_each_void_the_earlier_tokens(
    accounts: Accounts, ann: User
) -> None:
    """Changes within one second count too."""
    token = await accounts.log_in("ann", OLD)
    for _ in range(5):
        await accounts.log_out_everywhere(ann)
        assert await is_void(accounts, token)
        token = await accounts.log_in("ann", OLD)
        assert not await is_void(accounts, token)
    for current, new in ((OLD, NEW), (NEW, OLD)):
        before, token = token, await accounts.change_password(ann, current, new)
        assert await is_void(accounts, before)
        assert not await is_void(accounts, token)


@pytest.mark.parametrize("ahead", [1, 9])
async def test_change_voids_a_token_of_a_node_whose_clock_is_ahead(
    accounts: Accounts, store: MemoryStore, ann: User, ahead: int
) -> None:
    there = VirtualClock(START)
    there.advance(ahead * SECOND)
    elsewhere = Accounts(store, HeldHasher(), JwtTokens(SECRET), clock=there)
    token = await elsewhere.log_in("ann", OLD)
    await accounts.log_out_everywhere(ann)
    assert await is_void(elsewhere, token)
    assert not await is_void(elsewhere, await accounts.log_in("ann", OLD))


@pytest.mark.parametrize("change", [CHANGES["password"], CHANGES["reset"], CHANGES["logout"]])
@pytest.mark.parametrize("ahead", [1, 9, 20, 3600, 86_400])
async def test_change_on_a_node_whose_clock_is_ahead_locks_nobody_out(
    accounts: Accounts, store: MemoryStore, ann: User, ahead: int, change: Change
) -> None:
    there = VirtualClock(START)
    there.advance(ahead * SECOND)
    await change(Accounts(store, HeldHasher(), JwtTokens(SECRET), clock=there), ann)
    for password in (OLD, NEW):
        with suppress(WrongCredentials):
            token = await accounts.log_in("ann", password)
    assert not await is_void(accounts, token)
    await accounts.log_out_everywhere(ann)
    assert await is_void(accounts, token)


@pytest.mark.parametrize(("ahead", "void"), [(30, False), (31, True), (3600, True)])
async def test_token_dated_ahead_is_refused_since_it_would_outlive_a_change(
    accounts: Accounts,
    store: MemoryStore,
    clock: VirtualClock,
    ann: User,
    ahead: int,
    void: bool,
) -> None:
    clock.now = START.replace(microsecond=0)
    there = VirtualClock(clock.now + ahead * SECOND)
    elsewhere = Accounts(store, HeldHasher(), JwtTokens(SECRET), clock=there)
    token = await elsewhere.log_in("ann", OLD)
    assert await is_void(accounts, token) == void
    assert not await is_void(elsewhere, token)


@pytest.mark.parametrize("change", [CHANGES["password"], CHANGES["reset"], CHANGES["erase"]])
async def test_login_overtaken_by_a_change_is_refused(
    accounts: Accounts, hasher: HeldHasher, clock: VirtualClock, ann: User, change: Change
) -> None:
    slow = asyncio.create_task(accounts.log_in("ann", OLD))
    async with hasher.during("verify", slow):
        await change(accounts, ann)
        clock.advance(60 * SECOND)
    assert isinstance(slow.exception(), WrongCredentials)


async def test_rehashing_login_overtaken_by_a_change_gets_a_void_token(
    store: MemoryStore, clock: VirtualClock
) -> None:
    before = Accounts(store, HeldHasher(4), JwtTokens(SECRET), clock=clock)
    ann = await before.register("ann", OLD)
    hasher = HeldHasher()
    accounts = Accounts(store, hasher, JwtTokens(SECRET), clock=clock)
    slow = asyncio.create_task(accounts.log_in("ann", OLD))
    async with hasher.during("hash", slow):
        await accounts.change_password(ann, OLD, NEW)
        clock.advance(60 * SECOND)
    assert await is_void(accounts, slow.result())
    await accounts.log_in("ann", NEW)
    with pytest.raises(WrongCredentials):
        await accounts.log_in("ann", OLD)


async def test_login_beside_a_rehashing_login_succeeds(
    store: MemoryStore, clock: VirtualClock
) -> None:
    await Accounts(store, HeldHasher(4), JwtTokens(SECRET), clock=clock).register("ann", OLD)
    hasher = HeldHasher()
    accounts = Accounts(store, hasher, JwtTokens(SECRET), clock=clock)
    slow = asyncio.create_task(accounts.log_in("ann", OLD))
    async with hasher.during("verify", slow):
        await accounts.log_in("ann", OLD)
    assert not await is_void(accounts, slow.result())


class SlowStore(MemoryStore):
    """Lets other tasks run before it returns credentials."""

    async def credentials_by_id(self, user_id: int) -> Credentials | None:
        found = await super().credentials_by_id(user_id)
        for _ in range(20):
            await asyncio.sleep(0)
        return found


async def test_stolen_token_logs_out_everywhere_only_once() -> None:
    accounts = Accounts(
        SlowStore(), InsecureTestHasher(), JwtTokens(SECRET), clock=VirtualClock(START)
    )
    ann = await accounts.register("ann", OLD)
    claims = (await accounts.authenticate(await accounts.log_in("ann", OLD))).claims
    calls = [accounts.log_out_everywhere(ann, proven_by=claims) for _ in range(100)]
    refused = [each for each in await asyncio.gather(*calls, return_exceptions=True) if each]
    assert [type(each) for each in refused] == [InvalidToken] * 99
    assert not await is_void(accounts, await accounts.log_in("ann", OLD))


async def test_one_of_many_concurrent_password_changes_succeeds() -> None:
    accounts = Accounts(
        SlowStore(), InsecureTestHasher(), JwtTokens(SECRET), clock=VirtualClock(START)
    )
    ann = await accounts.register("ann", OLD)
    chosen = [f"{NEW} {n}" for n in range(4)]
    calls = [accounts.change_password(ann, OLD, each) for each in chosen]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    [(token, password)] = [
        (each, password)
        for each, password in zip(outcomes, chosen, strict=True)
        if isinstance(each, str)
    ]
    assert not await is_void(accounts, token)
    await accounts.log_in("ann", password)


async def test_password_change_overtaken_by_another_is_refused(
    accounts: Accounts, hasher: HeldHasher, ann: User
) -> None:
    slow = asyncio.create_task(accounts.change_password(ann, OLD, OTHER))
    async with hasher.during("hash", slow):
        await accounts.change_password(ann, OLD, NEW)
    assert isinstance(slow.exception(), WrongCredentials)
    await accounts.log_in("ann", NEW)


async def test_a_wrong_password_changes_nothing(accounts: Accounts, ann: User) -> None:
    token = await accounts.log_in("ann", OLD)
    for wrong in (NEW, "", OLD + " ", "\0", "\ud800", "x" * 2000):
        with pytest.raises(WrongCredentials):
            await accounts.change_password(ann, wrong, NEW)
        with pytest.raises(WrongCredentials):
            await accounts.erase(ann, wrong)
        with pytest.raises(WrongCredentials):
            await accounts.check_password(ann, wrong)
    assert not await is_void(accounts, token)
    await accounts.check_password(ann, OLD)


@pytest.mark.parametrize("new", ["", "1234567", "x" * 1025, "password\0", "\ud800" * 8])
async def test_a_new_password_follows_the_rules(accounts: Accounts, ann: User, new: str) -> None:
    token = await accounts.log_in("ann", OLD)
    with pytest.raises(InvalidPassword):
        await accounts.change_password(ann, OLD, new)
    with pytest.raises(InvalidPassword):
        await accounts.reset_password("ann", new)
    assert not await is_void(accounts, token)


async def test_operator_resets_a_password_by_any_spelling_of_the_name(
    accounts: Accounts, ann: User
) -> None:
    assert await accounts.reset_password("ANN", NEW) == ann
    await accounts.log_in("ann", NEW)
    for nobody in ("bob", "", "a/b", "\0", "\ud800"):
        with pytest.raises(UserNotFound):
            await accounts.reset_password(nobody, NEW)


async def test_erased_user_cannot_log_in_and_the_name_stays_taken(
    accounts: Accounts, store: MemoryStore, ann: User
) -> None:
    bob = await accounts.register("bob", OLD)
    erased, other = await accounts.erase(ann, OLD), await accounts.erase(bob, OLD)
    for user, left in ((ann, erased), (bob, other)):
        assert left.id == user.id
        start, digits = left.name[:-8], left.name[-8:]
        assert start == "deleted user "
        assert set(digits) <= set("0123456789abcdef")
        assert await store.user_by_id(user.id) == left
        for name in (user.name, left.name):
            with pytest.raises(WrongCredentials):
                await accounts.log_in(name, OLD)
            with pytest.raises(NameTaken):
                await accounts.register(name.upper(), OLD)
            with pytest.raises(UserNotFound):
                await accounts.reset_password(name, NEW)
        with pytest.raises(WrongCredentials):
            await accounts.erase(user, OLD)
        with pytest.raises(WrongCredentials):
            await accounts.change_password(user, OLD, NEW)
        with pytest.raises(UserNotFound):
            await accounts.log_out_everywhere(user)
    assert erased.name != other.name


async def test_tombstone_name_already_taken_is_drawn_again(
    accounts: Accounts, store: MemoryStore, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(["aaaaaaaa", "aaaaaaaa", "bbbbbbbb"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(drawn))
    await store.add_user(UserName("Deleted User aaaaaaaa"), "", 0)
    assert (await accounts.erase(ann, OLD)).name == "deleted user bbbbbbbb"
