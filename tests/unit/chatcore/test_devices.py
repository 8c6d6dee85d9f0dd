"""Device sessions through Accounts: renewals, repetitions, thefts, and how sessions end."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from chatcore import (
    Accounts,
    DeviceTokens,
    Guard,
    InvalidDevice,
    InvalidToken,
    SessionNotFound,
    StoreUnavailable,
    TooManyAttempts,
    User,
    WrongCredentials,
)
from chatcore.devices import MAX_SESSIONS
from chatcore.ports import NewSession
from chatcore.testing import Faults, VirtualClock
from chatcore_jwt import JwtTokens
from chatcore_memory import InsecureTestHasher, MemoryStore

PASSWORD = "correct horse battery"
SECRET = "a secret of thirty-two bytes or more"
SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def accounts(store: MemoryStore, clock: VirtualClock) -> Accounts:
    return made(store, clock)


def made(store: MemoryStore, clock: VirtualClock) -> Accounts:
    return Accounts(
        store,
        InsecureTestHasher(),
        JwtTokens(SECRET),
        clock=clock,
        guard=Guard(seconds=clock.seconds),
    )


@pytest.fixture
async def ann(accounts: Accounts) -> User:
    return await accounts.register("Ann", PASSWORD)


async def sign_in(accounts: Accounts, device: str = "phone") -> DeviceTokens:
    return await accounts.devices.sign_in("ann", PASSWORD, device)


async def is_void(accounts: Accounts, tokens: DeviceTokens) -> bool:
    """Whether both tokens are void."""
    with pytest.raises(InvalidToken):
        await accounts.devices.renew(tokens.refresh_token)
    try:
        await accounts.authenticate(tokens.access_token)
    except InvalidToken:
        return True
    return False


async def test_session_authenticates_its_user(
    accounts: Accounts, ann: User, clock: VirtualClock
) -> None:
    tokens = await sign_in(accounts)
    session = await accounts.authenticate(tokens.access_token)
    assert session.user == ann
    assert session.claims is not None
    assert session.claims.session_id == tokens.session_id
    assert session.expires_at == tokens.expires_at
    clock.now += HOUR
    with pytest.raises(InvalidToken):
        await accounts.authenticate(tokens.access_token)
    renewed = await accounts.devices.renew(tokens.refresh_token)
    assert renewed.session_id == tokens.session_id
    assert (await accounts.authenticate(renewed.access_token)).user == ann


async def test_session_of_another_user_authenticates_nobody(
    accounts: Accounts, ann: User, clock: VirtualClock
) -> None:
    bob = await accounts.register("bob", PASSWORD)
    tokens = await sign_in(accounts)
    mixed = JwtTokens(SECRET).issue(bob.id, clock(), session_id=tokens.session_id)
    with pytest.raises(InvalidToken):
        await accounts.authenticate(mixed)


@pytest.mark.parametrize("device", ["", "x" * 65, "a\nb", "a\0", "\ud800"])
async def test_invalid_device_name_is_refused(accounts: Accounts, ann: User, device: str) -> None:
    with pytest.raises(InvalidDevice):
        await accounts.devices.sign_in("ann", PASSWORD, device)
    assert await accounts.devices.sessions(ann) == []


async def test_lost_answer_can_be_repeated_for_a_minute(
    accounts: Accounts, ann: User, clock: VirtualClock
) -> None:
    first = await sign_in(accounts)
    second = await accounts.devices.renew(first.refresh_token)
    assert second.refresh_token != first.refresh_token
    clock.now += 60 * SECOND - timedelta(microseconds=1)
    again = await accounts.devices.renew(first.refresh_token)
    assert again.refresh_token == second.refresh_token
    third = await accounts.devices.renew(again.refresh_token)
    assert (await accounts.authenticate(third.access_token)).user == ann


@pytest.mark.parametrize("how", ["after a minute", "after its successor was used", "long after"])
async def test_late_use_of_a_refresh_token_ends_the_session_and_is_logged(
    accounts: Accounts, ann: User, clock: VirtualClock, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    other = await sign_in(accounts, "laptop")
    first = await sign_in(accounts)
    newest = await accounts.devices.renew(first.refresh_token)
    if how == "after a minute":
        clock.now += 60 * SECOND
    else:
        for _ in range(1 if how == "after its successor was used" else 5):
            newest = await accounts.devices.renew(newest.refresh_token)
    assert caplog.records == []
    with pytest.raises(InvalidToken):
        await accounts.devices.renew(first.refresh_token)
    assert await is_void(accounts, newest)
    [record] = caplog.records
    assert record.getMessage() == (
        f"session {first.session_id} of user {ann.id} ended: an outdated refresh token was used"
    )
    assert [session.id for session in await accounts.devices.sessions(ann)] == [other.session_id]
    await accounts.devices.renew(other.refresh_token)


def local(store: MemoryStore, clock: VirtualClock) -> Accounts:
    """Accounts whose clock is in local time."""
    try:
        berlin = ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        pytest.skip("this machine has no time zones")
    return Accounts(
        store, InsecureTestHasher(), JwtTokens(SECRET), clock=lambda: clock().astimezone(berlin)
    )


# Of Berlin, in spring and in autumn.
CHANGES_OF_OFFSET = (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC))


@pytest.mark.parametrize("moment", CHANGES_OF_OFFSET)
async def test_answer_can_be_repeated_while_local_time_changes_its_offset(
    store: MemoryStore, clock: VirtualClock, moment: datetime
) -> None:
    clock.now = moment - 10 * SECOND
    accounts = local(store, clock)
    ann = await accounts.register("ann", PASSWORD)
    first = await sign_in(accounts)
    [session] = await accounts.devices.sessions(ann)
    assert session.expires_us - session.created_us == 30 * DAY // timedelta(microseconds=1)
    clock.now += 20 * SECOND
    second = await accounts.devices.renew(first.refresh_token)
    clock.now += 59 * SECOND
    again = await accounts.devices.renew(first.refresh_token)
    assert again.refresh_token == second.refresh_token
    clock.now += SECOND
    with pytest.raises(InvalidToken):
        await accounts.devices.renew(first.refresh_token)


@pytest.mark.parametrize("moment", CHANGES_OF_OFFSET)
@pytest.mark.parametrize("before", [5 * SECOND, -HOUR / 2])
async def test_log_out_voids_tokens_while_local_time_changes_its_offset(
    store: MemoryStore, clock: VirtualClock, moment: datetime, before: timedelta
) -> None:
    clock.now = moment - before - SECOND
    accounts = local(store, clock)
    ann = await accounts.register("ann", PASSWORD)
    token = await accounts.log_in("ann", PASSWORD)
    clock.now += SECOND
    await accounts.log_out_everywhere(ann)
    with pytest.raises(InvalidToken):
        await accounts.authenticate(token)
    assert (await accounts.authenticate(await accounts.log_in("ann", PASSWORD))).user == ann


async def test_session_id_alone_neither_renews_nor_ends_a_session(
    accounts: Accounts, ann: User
) -> None:
    tokens = await sign_in(accounts)
    spoilt = [
        tokens.session_id,
        tokens.session_id * 2,
        tokens.refresh_token[:-1],
        tokens.refresh_token + "A",
        "A" + tokens.refresh_token[1:] if tokens.refresh_token[0] != "A" else "B",
        tokens.refresh_token + "\n",
        "",
        "é" * 64,
    ]
    for text in spoilt:
        with pytest.raises(InvalidToken):
            await accounts.devices.renew(text)
    assert len(await accounts.devices.sessions(ann)) == 1
    await accounts.devices.renew(tokens.refresh_token)


async def test_store_has_nothing_to_sign_in_with(
    accounts: Accounts, ann: User, store: MemoryStore
) -> None:
    tokens = await sign_in(accounts)
    for _ in range(2):
        kept = repr(store.contents.sessions)
        assert tokens.refresh_token not in kept
        tokens = await accounts.devices.renew(tokens.refresh_token)
    [record] = store.contents.sessions.values()
    assert {len(record.digest), len(record.former or b""), len(record.salt or b"")} == {32}


async def test_idle_session_expires_after_30_days(
    accounts: Accounts, ann: User, clock: VirtualClock
) -> None:
    tokens = await sign_in(accounts)
    clock.now += 30 * DAY - SECOND
    tokens = await accounts.devices.renew(tokens.refresh_token)
    clock.now += 30 * DAY
    assert await accounts.devices.sessions(ann) == []
    assert await is_void(accounts, tokens)


async def test_session_expires_180_days_after_the_sign_in(
    accounts: Accounts, ann: User, clock: VirtualClock
) -> None:
    tokens = await sign_in(accounts)
    for _ in range(8):
        clock.now += 20 * DAY
        tokens = await accounts.devices.renew(tokens.refresh_token)
    clock.now += 20 * DAY - HOUR / 2
    tokens = await accounts.devices.renew(tokens.refresh_token)
    session = await accounts.authenticate(tokens.access_token)
    assert session.expires_at == clock.now + HOUR / 2
    clock.now += HOUR / 2
    assert await is_void(accounts, tokens)


async def test_51st_session_ends_the_one_used_longest_ago(
    accounts: Accounts, ann: User, clock: VirtualClock
) -> None:
    tokens = []
    for n in range(MAX_SESSIONS):
        tokens.append(await sign_in(accounts, f"device {n}"))
        clock.now += SECOND
    tokens[0] = await accounts.devices.renew(tokens[0].refresh_token)
    ended: list[str] = []

    class Listener:
        def heard(self, user_id: int, session_id: str) -> None:
            assert user_id == ann.id
            ended.append(session_id)

    listener = Listener()
    accounts.changes.subscribe_sessions(listener.heard)
    await sign_in(accounts, "one more")
    assert ended == [tokens[1].session_id]
    assert await is_void(accounts, tokens[1])
    assert len(await accounts.devices.sessions(ann)) == MAX_SESSIONS
    await accounts.devices.renew(tokens[0].refresh_token)


async def test_user_ends_own_sessions_only(accounts: Accounts, ann: User) -> None:
    bob = await accounts.register("bob", PASSWORD)
    phone, laptop = await sign_in(accounts), await sign_in(accounts, "laptop")
    for user, session_id in (
        (bob, phone.session_id),
        (ann, "0" * 32),
        (ann, "\0"),
        (ann, phone.session_id.upper() + "A"),
    ):
        with pytest.raises(SessionNotFound):
            await accounts.devices.end(user, session_id)
    await accounts.devices.end(ann, phone.session_id)
    assert await is_void(accounts, phone)
    with pytest.raises(SessionNotFound):
        await accounts.devices.end(ann, phone.session_id)
    assert (await accounts.authenticate(laptop.access_token)).user == ann


@pytest.mark.parametrize("how", ["change", "reset", "everywhere", "erase"])
async def test_change_of_credentials_ends_all_sessions(
    accounts: Accounts, ann: User, how: str
) -> None:
    bob = await accounts.register("bob", PASSWORD)
    kept = await accounts.devices.sign_in("bob", PASSWORD, "phone")
    phone, laptop = await sign_in(accounts), await sign_in(accounts, "laptop")
    if how == "change":
        await accounts.change_password(ann, PASSWORD, "staple of batteries")
    elif how == "reset":
        await accounts.reset_password("ann", "staple of batteries")
    elif how == "everywhere":
        claims = (await accounts.authenticate(phone.access_token)).claims
        await accounts.log_out_everywhere(ann, proven_by=claims)
        with pytest.raises(InvalidToken):
            await accounts.log_out_everywhere(ann, proven_by=claims)
    else:
        await accounts.erase(ann, PASSWORD)
    assert await is_void(accounts, phone)
    assert await is_void(accounts, laptop)
    assert await accounts.devices.sessions(ann) == []
    assert (await accounts.authenticate(kept.access_token)).user == bob


class VoidsTokens(MemoryStore):
    """Voids the user's tokens just before a session is added, up to `times` times."""

    def __init__(self, times: int, password_hash: str | None = None) -> None:
        super().__init__()
        self.times = times
        self._password_hash = password_hash

    async def add_session(
        self, new: NewSession, *, tokens_from_us: int, limit: int
    ) -> Sequence[str]:
        if self.times:
            self.times -= 1
            await self.void_tokens(new.user_id, 0, password_hash=self._password_hash)
        return await super().add_session(new, tokens_from_us=tokens_from_us, limit=limit)


async def test_former_password_starts_no_session_after_a_change(clock: VirtualClock) -> None:
    accounts = made(VoidsTokens(1, "another hash"), clock)
    ann = await accounts.register("ann", PASSWORD)
    with pytest.raises(WrongCredentials):
        await sign_in(accounts)
    assert await accounts.devices.sessions(ann) == []


async def test_right_password_signs_in_beside_a_logout_everywhere(clock: VirtualClock) -> None:
    accounts = made(VoidsTokens(2), clock)
    ann = await accounts.register("ann", PASSWORD)
    tokens = await sign_in(accounts)
    assert (await accounts.authenticate(tokens.access_token)).user == ann


async def test_sign_in_ends_beside_endless_logouts(clock: VirtualClock) -> None:
    store = VoidsTokens(100)
    accounts = made(store, clock)
    await accounts.register("ann", PASSWORD)
    with pytest.raises(WrongCredentials):
        await sign_in(accounts)
    assert store.times == 97


async def test_sign_in_shares_the_counters_of_the_login(accounts: Accounts, ann: User) -> None:
    for _ in range(3):
        with pytest.raises(WrongCredentials):
            await accounts.devices.sign_in("ann", "a wrong one", "x", address="192.0.2.1")
    for _ in range(2):
        with pytest.raises(WrongCredentials):
            await accounts.log_in("ann", "a wrong one", address="192.0.2.1")
    with pytest.raises(TooManyAttempts):
        await accounts.devices.sign_in("ann", PASSWORD, "x", address="192.0.2.1")
    with pytest.raises(TooManyAttempts):
        await accounts.log_in("ann", PASSWORD, address="192.0.2.1")


async def test_end_of_unknown_outcome_is_announced(store: MemoryStore, clock: VirtualClock) -> None:
    faults = Faults()
    accounts = made(faults.store(store), clock)
    ann = await accounts.register("ann", PASSWORD)
    tokens = await sign_in(accounts)
    heard: list[str] = []

    class Listener:
        def heard(self, user_id: int, session_id: str) -> None:
            heard.append(session_id)

    listener = Listener()
    accounts.changes.subscribe_sessions(listener.heard)
    faults.next_write_unknown(happens=True, method="end_session")
    with pytest.raises(StoreUnavailable):
        await accounts.devices.end(ann, tokens.session_id)
    assert heard == [tokens.session_id]
    assert await is_void(accounts, tokens)


async def test_lost_answer_of_the_store_is_a_repetition(
    store: MemoryStore, clock: VirtualClock
) -> None:
    faults = Faults()
    accounts = made(faults.store(store), clock)
    await accounts.register("ann", PASSWORD)
    tokens = await sign_in(accounts)
    for happens in (True, False):
        faults.next_write_unknown(happens=happens, method="renew_session")
        with pytest.raises(StoreUnavailable):
            await accounts.devices.renew(tokens.refresh_token)
        tokens = await accounts.devices.renew(tokens.refresh_token)
        await accounts.authenticate(tokens.access_token)


class StoreBeforeSessions:
    """A store with none but the methods of before."""

    def __getattr__(self, name: str) -> Any:
        if name in ("add_session", "renew_session"):
            raise AttributeError(name)
        return getattr(MemoryStore(), name)


class TokensBeforeSessions:
    def issue(self, user_id: int, now: datetime) -> str:
        return JwtTokens(SECRET).issue(user_id, now)

    verify = JwtTokens(SECRET).verify


def test_adapter_that_knows_no_sessions_is_refused_at_once() -> None:
    old: Any = StoreBeforeSessions()
    with pytest.raises(TypeError, match=r"StoreBeforeSessions .* add_session, renew_session"):
        Accounts(old, InsecureTestHasher(), JwtTokens(SECRET))
    tokens: Any = TokensBeforeSessions()
    with pytest.raises(TypeError, match=r"TokensBeforeSessions\.issue .* session_id"):
        Accounts(MemoryStore(), InsecureTestHasher(), tokens)


@pytest.mark.parametrize("span", [timedelta(0), -DAY, SECOND / 2, timedelta.max])
def test_times_of_sessions_are_bounded(span: timedelta) -> None:
    for option in ("session_idle", "session_longest"):
        options: Any = {option: span}
        with pytest.raises(ValueError, match="from a second to 100 years"):
            Accounts(MemoryStore(), InsecureTestHasher(), JwtTokens(SECRET), **options)


async def test_session_may_last_a_second_or_100_years(clock: VirtualClock) -> None:
    for span in (SECOND, 36_525 * DAY):
        accounts = Accounts(
            MemoryStore(),
            InsecureTestHasher(),
            JwtTokens(SECRET),
            clock=clock,
            session_idle=span,
            session_longest=span,
        )
        await accounts.register("ann", PASSWORD)
        tokens = await sign_in(accounts)
        await accounts.devices.renew(tokens.refresh_token)
        clock.now += span
        assert await is_void(accounts, tokens)
