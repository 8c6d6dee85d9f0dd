"""Guessing passwords is slowed down, and strangers cannot lock a user out."""

import asyncio
import itertools
import math
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatcore import (
    Accounts,
    Guard,
    InvalidName,
    InvalidPassword,
    NameTaken,
    Overloaded,
    TooManyAttempts,
    User,
    WrongCredentials,
    guessing,
)
from chatcore_memory import InsecureTestHasher, InsecureTestTokens, MemoryStore
from tests.support.clock import Watch

PASSWORD = "correct horse battery"
HERE, THERE = "203.0.113.1", "198.51.100.1"
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


class Hasher(InsecureTestHasher):
    """Counts verifications. If `busy`, it refuses; until `free` is set, it does not return."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.busy = False
        self.free = asyncio.Event()
        self.free.set()
        self.arrived = asyncio.Semaphore(0)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        if self.busy:
            raise Overloaded
        self.calls += 1
        self.arrived.release()
        await self.free.wait()
        return await super().verify(password, password_hash)


class Scene:
    def __init__(self, *, refuse_common_passwords: bool = False) -> None:
        self.watch = Watch(1000.0)
        self.strangers = itertools.count()
        self.hasher = Hasher()
        self.store = MemoryStore()
        guard = Guard(seconds=self.watch)
        self.accounts = Accounts(
            self.store,
            self.hasher,
            InsecureTestTokens(),
            guard=guard,
            refuse_common_passwords=refuse_common_passwords,
        )

    async def guess(self, address: str | None, name: str = "ann", password: str = "wrong") -> int:
        """Try to log in. Return the seconds to wait, or 0 if the password was verified."""
        try:
            await self.accounts.log_in(name, password, address=address)
        except WrongCredentials:
            return 0
        except TooManyAttempts as error:
            return error.retry_after
        return 0

    async def log_in(self, address: str | None, name: str = "ann") -> int:
        return await self.guess(address, name, PASSWORD)

    async def attack(self, name: str = "ann", guesses: int = 60) -> None:
        """Guess once from each of many addresses."""
        for n in itertools.islice(self.strangers, guesses):
            assert await self.guess(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", name) == 0


@pytest.fixture
async def scene() -> Scene:
    made = Scene()
    await made.accounts.register("ann", PASSWORD)
    return made


@pytest.mark.parametrize("name", ["ann", "nobody", "\0", "x" * 9999])
async def test_the_first_5_failures_cost_nothing_and_then_waits_double(
    scene: Scene, name: str
) -> None:
    assert [await scene.guess(HERE, name) for _ in range(5)] == [0] * 5
    waits = []
    for _ in range(25):
        waits.append(await scene.guess(HERE, name))
        # Trying during the wait does not extend it.
        scene.watch.now += waits[-1] - 1
        assert await scene.guess(HERE, name) == 1
        scene.watch.now += 1
        assert await scene.guess(HERE, name) == 0
    assert waits[:6] == [1, 2, 4, 8, 16, 32]
    assert all(one <= other for one, other in itertools.pairwise(waits))
    assert 850 < waits[-1] <= 900


async def test_right_password_is_refused_during_a_wait(scene: Scene) -> None:
    for _ in range(5):
        await scene.guess(HERE)
    before = scene.hasher.calls
    assert await scene.log_in(HERE) == 1
    assert scene.hasher.calls == before
    scene.watch.now += 1
    assert await scene.log_in(HERE) == 0


async def test_success_resets_the_failures_of_its_name(scene: Scene) -> None:
    for _ in range(3):
        assert [await scene.guess(HERE) for _ in range(5)] == [0] * 5
        scene.watch.now += 1
        assert await scene.log_in(HERE) == 0


async def test_success_does_not_reset_failures_at_other_names(scene: Scene) -> None:
    heard = 0
    for n in range(30):
        heard += await scene.guess(HERE, f"user {n}") == 0
        assert await scene.log_in(HERE) == 0
    assert heard == 20


async def test_without_an_address_nothing_is_limited(scene: Scene) -> None:
    assert [await scene.guess(None) for _ in range(100)] == [0] * 100
    assert await scene.log_in(HERE) == 0


async def test_occasional_failures_cost_nothing(scene: Scene) -> None:
    for _ in range(100):
        assert await scene.guess(HERE) == 0
        scene.watch.now += 20 * MINUTE


def attacks() -> st.SearchStrategy[list[tuple[int, int, float]]]:
    """Guesses of strangers: address, number of guesses, and seconds to the next entry."""
    pauses = st.sampled_from([0.0, 1.0, 60.0, 3600.0])
    return st.lists(st.tuples(st.integers(0, 500), st.integers(1, 9), pauses), max_size=60)


@settings(max_examples=30, deadline=None)
@given(attacks(), st.booleans())
async def test_strangers_cannot_delay_the_owner(
    attack: list[tuple[int, int, float]], crowd: bool
) -> None:
    scene = Scene()
    await scene.accounts.register("ann", PASSWORD)
    if crowd:
        await scene.attack()
    for stranger, guesses, pause in attack:
        for _ in range(guesses):
            await scene.guess(f"192.0.{stranger >> 8}.{stranger & 255}")
        scene.watch.now += pause
    assert await scene.log_in(HERE) == 0
    assert await scene.log_in("2001:db8::1") == 0


async def test_under_attack_the_owner_at_a_new_address_waits_a_minute_per_failure(
    scene: Scene,
) -> None:
    await scene.attack()
    assert await scene.guess(HERE) == 0
    assert await scene.log_in(HERE) == 60
    scene.watch.now += 60
    await scene.attack(guesses=19)
    assert await scene.log_in(HERE) == 0


async def test_under_attack_the_owner_at_a_known_address_keeps_the_free_tries(scene: Scene) -> None:
    assert await scene.log_in(HERE) == 0
    await scene.attack()
    assert [await scene.guess(HERE) for _ in range(5)] == [0] * 5
    scene.watch.now += 1
    assert await scene.log_in(HERE) == 0


async def test_known_user_is_not_locked_out_by_others_at_the_address(scene: Scene) -> None:
    assert await scene.log_in(HERE) == 0
    for n in range(30):
        await scene.guess(HERE, f"user {n}")
    assert await scene.guess(HERE, "bob") > 0
    assert await scene.log_in(HERE) == 0


async def test_attack_is_forgotten_after_two_hours(scene: Scene) -> None:
    await scene.attack(guesses=200)
    scene.watch.now += 2 * HOUR
    assert [await scene.guess(HERE) for _ in range(5)] == [0] * 5


async def guesses_of_the_hasty(scene: Scene, seconds: float, busy: bool = False) -> int:
    """Count the verified guesses of a client that retries as early as allowed.

    With `busy`, other addresses keep attacking the name."""
    end, heard = scene.watch.now + seconds, 0
    while scene.watch.now < end:
        if busy:
            await scene.attack(guesses=21)
        wait = await scene.guess(HERE)
        heard += not wait
        scene.watch.now += min(wait, HOUR) if busy else wait
    return heard


async def test_guesses_per_hour_from_one_address_are_limited(scene: Scene) -> None:
    assert [await guesses_of_the_hasty(scene, HOUR) for _ in range(4)] == [18, 5, 4, 4]


async def test_guesses_per_day_under_attack_are_limited_further(scene: Scene) -> None:
    await scene.attack()
    days = [await guesses_of_the_hasty(scene, DAY, busy=True) for _ in range(3)]
    assert days[0] <= 15
    assert max(days[1:]) <= 7


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 2000), max_size=100))
async def test_no_timing_exceeds_the_promised_number_of_guesses(pauses: list[float]) -> None:
    watch = Watch(1000.0)
    guard, heard = Guard(seconds=watch), 0
    begin = watch.now
    for pause in [0.0] * 20 + pauses:
        watch.now += pause
        try:
            with guard.attempt("ann", HERE):
                heard += 1
                raise WrongCredentials
        except (TooManyAttempts, WrongCredentials):
            pass
        limit = guessing.PAIR
        most = limit.free + math.log2(limit.longest / limit.first) + 2
        assert heard <= most + (watch.now - begin) / limit.longest


async def test_address_has_20_failures_over_all_names(
    scene: Scene,
) -> None:
    heard = [await scene.guess(HERE, f"user {n}") == 0 for n in range(100)]
    assert sum(heard) == 20
    assert await scene.guess(THERE, "user 99") == 0
    scene.watch.now += HOUR
    assert [await scene.guess(HERE, f"user {n}") for n in range(20)] == [0] * 20


async def test_success_does_not_restart_a_wait(scene: Scene) -> None:
    for n in range(40):
        while wait := await scene.guess(HERE, f"user {n}"):
            scene.watch.now += wait
    scene.watch.now += 40
    assert await scene.log_in(HERE) == 0
    assert await scene.guess(HERE, "another") == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (HERE, f"::ffff:{HERE}", True),
        (HERE, "203.0.113.2", False),
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8::1", "2001:DB8:0:0:1::", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("a browser's id", "a browser's id", True),
        ("a browser's id", "another's", False),
    ],
)
async def test_address_is_grouped_by_customer_network(
    scene: Scene, one: str, other: str, same: bool
) -> None:
    for _ in range(5):
        await scene.guess(one)
    assert (await scene.guess(other) > 0) is same


async def test_many_networks_of_one_customer_are_limited_together(scene: Scene) -> None:
    heard = [await scene.guess(f"2001:db8:0:{n:x}::1", f"user {n}") == 0 for n in range(400)]
    assert sum(heard) == 200
    assert await scene.guess("2001:db8:1::1", "user 399") == 0


async def test_concurrent_guesses_gain_nothing(scene: Scene) -> None:
    for most in (4, 1, 0):
        scene.hasher.free.clear()
        before = scene.hasher.calls
        guesses = [asyncio.create_task(scene.guess(HERE)) for _ in range(50)]
        assert 0 not in [await guess for guess in guesses[most:]]
        scene.hasher.free.set()
        assert await asyncio.gather(*guesses[:most]) == [0] * most
        assert scene.hasher.calls - before == most


async def test_address_has_4_concurrent_tries_without_delaying_others(scene: Scene) -> None:
    scene.hasher.free.clear()
    tries = [asyncio.create_task(scene.guess(HERE, f"user {n}")) for n in range(10)]
    elsewhere = asyncio.create_task(scene.log_in(THERE))
    refused = [await task for task in tries[4:]]
    assert refused == [1] * 6
    assert not any(task.done() for task in (*tries[:4], elsewhere))
    scene.hasher.free.set()
    assert await asyncio.gather(elsewhere, *tries[:4]) == [0] * 5
    assert await scene.guess(HERE, "user 10") == 0


async def test_known_user_has_a_place_while_the_address_is_full(
    scene: Scene,
) -> None:
    assert await scene.log_in(HERE) == 0
    scene.hasher.free.clear()
    others = [asyncio.create_task(scene.guess(HERE, f"user {n}")) for n in range(10)]
    mine = [asyncio.create_task(scene.log_in(HERE)) for _ in range(10)]
    assert [await task for task in (*others[4:], *mine[4:])] == [1] * 12
    scene.hasher.free.set()
    assert await asyncio.gather(*others[:4], *mine[:4]) == [0] * 8


async def test_concurrent_right_passwords_cost_nothing(scene: Scene) -> None:
    for _ in range(50):
        assert await asyncio.gather(*(scene.log_in(HERE) for _ in range(4))) == [0] * 4


async def test_unverified_try_is_not_a_failure(scene: Scene) -> None:
    scene.hasher.busy = True
    for _ in range(100):
        with pytest.raises(Overloaded):
            await scene.guess(HERE)
    scene.hasher.busy = False
    assert [await scene.guess(HERE) for _ in range(5)] == [0] * 5


async def test_cancelled_try_counts_as_a_guess_and_frees_its_place(scene: Scene) -> None:
    scene.hasher.free.clear()
    for n in range(20):
        leaving = asyncio.create_task(scene.guess(HERE, f"user {n}"))
        await scene.hasher.arrived.acquire()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    scene.hasher.free.set()
    assert await scene.guess(HERE, "user 20") == 1
    assert await scene.guess(THERE, "user 20") == 0


async def test_password_confirmation_is_limited(scene: Scene) -> None:
    ann = await scene.accounts.register("Änn", PASSWORD)
    for _ in range(3):
        with pytest.raises(WrongCredentials):
            await scene.accounts.change_password(ann, "wrong", "another password", address=HERE)
    with pytest.raises(WrongCredentials):
        await scene.accounts.erase(ann, "wrong", address=HERE)
    assert await scene.guess(HERE, "änn") == 0
    for ask in (
        scene.accounts.change_password(ann, PASSWORD, "another password", address=HERE),
        scene.accounts.erase(ann, PASSWORD, address=HERE),
        scene.accounts.log_in("ÄNN", PASSWORD, address=HERE),
    ):
        with pytest.raises(TooManyAttempts):
            await ask
    assert await scene.log_in(THERE, "Änn") == 0


async def register(scene: Scene, name: str, address: str | None) -> User | int:
    try:
        return await scene.accounts.register(name, PASSWORD, address=address)
    except TooManyAttempts as error:
        return error.retry_after


async def test_address_registers_20_users_before_waiting(scene: Scene) -> None:
    made = [await register(scene, f"user {n}", HERE) for n in range(30)]
    assert [type(each) for each in made] == [User] * 20 + [int] * 10
    assert isinstance(await register(scene, "user 20", THERE), User)
    assert isinstance(await register(scene, "user 21", None), User)
    scene.watch.now += HOUR
    later = [await register(scene, f"later {n}", HERE) for n in range(30)]
    assert [type(each) for each in later] == [User] * 20 + [int] * 10


async def test_taken_name_counts_as_a_registration_and_an_invalid_one_does_not(
    scene: Scene,
) -> None:
    for _ in range(100):
        with pytest.raises(InvalidName):
            await scene.accounts.register("a/b", PASSWORD, address=HERE)
        with pytest.raises(InvalidPassword):
            await scene.accounts.register("bob", "short", address=HERE)
    for _ in range(20):
        with pytest.raises(NameTaken):
            await scene.accounts.register("ann", PASSWORD, address=HERE)
    assert await register(scene, "bob", HERE) == 1


async def test_flood_does_not_evict_the_limits_of_a_guesser(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guessing, "MAX_COUNTS", 64)
    for _ in range(6):
        await scene.guess(HERE)
    for n in range(20):
        await scene.guess(THERE, f"user {n}")
    registered = [await register(scene, f"user {n}", HERE) for n in range(21)]
    assert registered[20] == 1
    for n in range(1000):
        stranger = f"10.0.{n >> 8}.{n & 255}"
        assert await scene.guess(stranger, f"flood {n}") == 0
        assert isinstance(await register(scene, f"flood {n}", stranger), User)
    assert await scene.guess(HERE) == 1
    assert await scene.guess(THERE, "user 99") == 1
    assert await register(scene, "one more", HERE) == 1


async def test_memory_of_the_guard_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guessing, "MAX_COUNTS", 32)
    guard, sizes = Guard(), []

    def flood(seed: int) -> None:
        for n in range(150):
            name, address = f"{seed} {n}", f"2001:db8:{seed:x}{n:x}::1"
            for wrong in (True, False):
                try:
                    with guard.attempt(name, address):
                        if wrong:
                            raise WrongCredentials
                except WrongCredentials:
                    pass
            with guard.registration(address):
                pass

    tracemalloc.start()
    try:
        for seed in range(1, 4):
            flood(seed)
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # Without a bound, each flood would add some 225 KiB.
    assert sizes[2] - sizes[1] < 50_000


COMMON = ["12345678", "password", "PASSWORD", "Password1", "ｐａｓｓｗｏｒｄ", "qwertyuiop"]


@pytest.mark.parametrize("common", COMMON)
async def test_common_password_is_refused_if_configured(common: str) -> None:
    scene = Scene(refuse_common_passwords=True)
    ann = await scene.accounts.register("Ann B", PASSWORD)
    with pytest.raises(InvalidPassword):
        await scene.accounts.change_password(ann, PASSWORD, common)
    with pytest.raises(InvalidPassword):
        await scene.accounts.reset_password("Ann B", common)
    assert await scene.log_in(HERE, "Ann B") == 0
    with pytest.raises(InvalidPassword):
        await scene.accounts.register("bob", common)
    assert await scene.store.user_by_name("bob") is None


@pytest.mark.parametrize("common", COMMON)
async def test_a_common_password_is_accepted_by_default(scene: Scene, common: str) -> None:
    bob = await scene.accounts.register("bob", PASSWORD)
    await scene.accounts.change_password(bob, PASSWORD, common)
    await scene.accounts.reset_password("bob", common)
    await scene.accounts.register("Ann B", common)
    await scene.accounts.log_in("Ann B", common)


@pytest.mark.parametrize("uncommon", [PASSWORD, "Password1, and more", "passw0rd-", "пароль12"])
async def test_a_password_that_resembles_a_common_one_is_accepted(uncommon: str) -> None:
    scene = Scene(refuse_common_passwords=True)
    ann = await scene.accounts.register("Ann B", PASSWORD)
    await scene.accounts.change_password(ann, PASSWORD, uncommon)
    await scene.accounts.log_in("Ann B", uncommon)


async def test_an_account_with_a_common_password_still_logs_in() -> None:
    scene = Scene(refuse_common_passwords=True)
    await Accounts(scene.store, scene.hasher, InsecureTestTokens()).register("ann", "12345678")
    await scene.accounts.log_in("ann", "12345678")


OWNER = "127.0.0.1"


async def test_loopback_address_registers_2000_users(scene: Scene) -> None:
    for n in range(2000):
        await scene.accounts.register(f"user {n}", PASSWORD, address=OWNER)
    with pytest.raises(TooManyAttempts):
        await scene.accounts.register("one more", PASSWORD, address=OWNER)


async def test_loopback_address_has_64_concurrent_tries(scene: Scene) -> None:
    for n in range(65):
        await scene.accounts.register(f"user {n}", PASSWORD)
    scene.hasher.free.clear()
    tries = [asyncio.create_task(scene.log_in(OWNER, f"user {n}")) for n in range(64)]
    for _ in range(64):
        await scene.hasher.arrived.acquire()
    assert await scene.log_in("::1", "user 64") == 1
    scene.hasher.free.set()
    assert await asyncio.gather(*tries) == [0] * 64
    assert await scene.log_in(OWNER, "user 64") == 0


async def test_guesses_from_loopback_are_limited(scene: Scene) -> None:
    assert [await scene.guess(OWNER) for _ in range(6)] == [0] * 5 + [1]
    # All loopback addresses count as one.
    assert await scene.guess("127.1.2.3") == await scene.guess("::1") == 1
    assert [await scene.guess(OWNER, f"user {n}") for n in range(16)] == [0] * 15 + [1]


async def test_concurrent_guesses_gain_loopback_64_once(scene: Scene) -> None:
    async def heard_of_64() -> int:
        before = scene.hasher.calls
        scene.hasher.free.clear()
        tries = [asyncio.create_task(scene.guess(OWNER)) for _ in range(64)]
        for _ in range(10):
            await asyncio.sleep(0)
        scene.hasher.free.set()
        await asyncio.gather(*tries)
        return scene.hasher.calls - before

    assert await heard_of_64() == 64
    assert await heard_of_64() == 0
    for _ in range(3):
        scene.watch.now += 15 * MINUTE
        assert await heard_of_64() == 1
    # The name is not under attack: another address has its usual free tries.
    assert [await scene.guess(THERE) for _ in range(6)] == [0] * 5 + [1]


async def test_overloaded_try_from_loopback_is_not_a_failure(scene: Scene) -> None:
    scene.hasher.busy = True
    for _ in range(30):
        with pytest.raises(Overloaded):
            await scene.accounts.log_in("ann", "wrong", address=OWNER)
    scene.hasher.busy = False
    assert [await scene.guess(OWNER) for _ in range(6)] == [0] * 5 + [1]


async def test_registration_makes_the_user_known_at_the_address(scene: Scene) -> None:
    await scene.accounts.register("bob", PASSWORD, address=HERE)
    for n in range(20):
        assert await scene.guess(HERE, f"user {n}") == 0
    assert await scene.guess(HERE, "another") == 1
    assert await scene.log_in(HERE, "bob") == 0
