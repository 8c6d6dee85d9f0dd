"""Password hashing: the recommended cost, in its own threads, behind a bounded queue."""

import asyncio
import logging
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chatcore.errors import Overloaded
from chatcore.testing import PASSWORD_HASHER_CHECKS, PasswordHasherCheck
from chatcore_argon2 import Argon2Hasher

PASSWORD = "correct horse battery"
SALT_AND_TAG = f"{'A' * 22}${'A' * 43}"
# Hashes of no password. On the second, the thread of a HeldHasher waits for `let_go`.
FAST = f"$argon2id$v=19$m=8,t=1,p=1${SALT_AND_TAG}"
HELD = f"$argon2id$v=19$m=16,t=1,p=1${SALT_AND_TAG}"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux about threads")


class HeldHasher(Argon2Hasher):
    """One thread, and hashes that cost nothing; verifying HELD keeps the thread busy."""

    def __init__(self, max_waiting: int = 128) -> None:
        super().__init__(time_cost=1, memory_cost=8, threads=1, max_waiting=max_waiting)
        self.busy, self.let_go = threading.Event(), threading.Event()

    async def occupy(self) -> asyncio.Task[bool]:
        """Start a call that keeps the thread busy until `let_go` is set."""
        running = asyncio.create_task(self.verify(PASSWORD, HELD))
        async with asyncio.timeout(60):
            while not self.busy.is_set():  # noqa: ASYNC110  a thread sets it
                await asyncio.sleep(0.001)
        return running

    def _verify(self, password: str, password_hash: str | None) -> bool:
        if password_hash == HELD:
            self.busy.set()
            self.let_go.wait()
        return super()._verify(password, password_hash)


@pytest.fixture
async def cheap() -> AsyncIterator[HeldHasher]:
    async with HeldHasher() as hasher:
        try:
            yield hasher
        finally:
            hasher.let_go.set()


async def fill(hasher: Argon2Hasher, places: int) -> list[asyncio.Task[bool]]:
    """Start `places` callers and wait until they are queued."""
    waiting = [asyncio.create_task(hasher.verify(PASSWORD, None)) for _ in range(places)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    return waiting


@contextmanager
def new_threads() -> Iterator[set[threading.Thread]]:
    """Yield a list that receives the threads started in the block."""
    before, found = set(threading.enumerate()), set[threading.Thread]()
    yield found
    found |= set(threading.enumerate()) - before


@pytest.mark.parametrize("check", PASSWORD_HASHER_CHECKS, ids=lambda check: check.__name__)
async def test_argon2_hasher_passes_the_conformance_checks(check: PasswordHasherCheck) -> None:
    async with Argon2Hasher(time_cost=1, memory_cost=4096) as hasher:
        await check(hasher)


async def test_default_parameters_are_those_of_owasp() -> None:
    async with Argon2Hasher() as hasher:
        made = await hasher.hash(PASSWORD)
    assert made.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.parametrize("changed", ["time_cost", "memory_cost", "parallelism"])
async def test_hashes_with_other_parameters_verify_and_need_a_rehash(changed: str) -> None:
    parameters = {"time_cost": 2, "memory_cost": 32, "parallelism": 2}
    async with Argon2Hasher(**parameters) as earlier:
        made = await earlier.hash(PASSWORD)
    async with Argon2Hasher(**parameters | {changed: parameters[changed] * 2}) as today:
        assert await today.verify(PASSWORD, made)
        assert not await today.verify(PASSWORD + "!", made)
        assert today.needs_rehash(made)


DAMAGED = {
    "empty": "",
    "cut": FAST[:40],
    "no base64": f"$argon2id$v=19$m=8,t=1,p=1${'!' * 22}${'!' * 43}",
    "no memory": f"$argon2id$v=19$m=0,t=1,p=1${SALT_AND_TAG}",
    "of another kind": "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
    "no ASCII": FAST + "é",
    "no Unicode": "$argon2id\udcff",
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
async def test_damaged_hash_is_logged_without_quoting_it(
    cheap: Argon2Hasher, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not await cheap.verify(PASSWORD, damaged)
    [record] = caplog.records
    assert (record.name.partition(".")[0], record.levelno) == ("chatcore_argon2", logging.WARNING)
    assert "damaged" in record.getMessage()
    assert PASSWORD not in caplog.text
    assert record.exc_info is None
    assert damaged[:20] not in caplog.text or not damaged


async def test_a_wrong_password_is_not_logged(
    cheap: Argon2Hasher, caplog: pytest.LogCaptureFixture
) -> None:
    assert not await cheap.verify(PASSWORD, await cheap.hash("another"))
    assert not await cheap.verify(PASSWORD, None)
    assert not caplog.records


@pytest.mark.parametrize("damaged", ["", DAMAGED["cut"], DAMAGED["no ASCII"]])
def test_invalid_hash_needs_a_rehash(damaged: str) -> None:
    assert Argon2Hasher().needs_rehash(damaged)


@pytest.mark.parametrize("no_hash", [None, DAMAGED["cut"]], ids=["unknown user", "damaged hash"])
async def test_missing_hash_costs_as_much_as_a_real_one(no_hash: str | None) -> None:
    async def cost(stored: str | None) -> float:
        # Processor time, which a busy machine does not change.
        begin = time.process_time()
        assert not await hasher.verify("wrong password", stored)
        return time.process_time() - begin

    # Far from the defaults: a dummy hash with the defaults would cost ten times as much.
    async with Argon2Hasher(time_cost=1, memory_cost=4096) as hasher:
        made = await hasher.hash(PASSWORD)
        wrong = nothing = float("inf")
        for _ in range(100):
            # The minimum of many runs excludes the noise of other processes.
            wrong, nothing = min(wrong, await cost(made)), min(nothing, await cost(no_hash))
            if wrong / 2 < nothing < wrong * 2:
                break
    assert wrong / 2 < nothing < wrong * 2


async def test_queue_holds_128_callers(cheap: HeldHasher) -> None:
    running = await cheap.occupy()
    waiting = await fill(cheap, 128)
    with pytest.raises(Overloaded):
        await cheap.hash(PASSWORD)
    with pytest.raises(Overloaded):
        await cheap.verify(PASSWORD, None)
    cheap.let_go.set()
    assert await asyncio.gather(running, *waiting) == [False] * 129
    assert await cheap.hash(PASSWORD)


async def test_cancelled_caller_frees_its_place(cheap: HeldHasher) -> None:
    running = await cheap.occupy()
    waiting = await fill(cheap, 128)
    for leaver in waiting[:2]:
        leaver.cancel()
    await asyncio.wait(waiting[:2])
    waiting += await fill(cheap, 2)
    with pytest.raises(Overloaded):
        await cheap.hash(PASSWORD)
    cheap.let_go.set()
    assert await asyncio.gather(running, *waiting[2:]) == [False] * 129


async def test_cancelled_hash_keeps_its_thread_busy() -> None:
    async with HeldHasher(max_waiting=0) as hasher:
        running = await hasher.occupy()
        running.cancel()
        await asyncio.wait([running])
        with pytest.raises(Overloaded):
            await hasher.hash(PASSWORD)
        hasher.let_go.set()


@linux_only
@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 3)])
async def test_one_core_is_left_free(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with new_threads() as found:
        hasher = Argon2Hasher(time_cost=1, memory_cost=8)
        await asyncio.gather(*(hasher.verify(PASSWORD, None) for _ in range(50)))
    assert len(found) == threads
    ids = [thread.native_id for thread in found]
    nices = {os.getpriority(os.PRIO_PROCESS, thread) for thread in ids if thread}
    assert nices == {max(10, own)}
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own
    await hasher.close()
    assert not any(thread.is_alive() for thread in found)


@pytest.mark.parametrize(("platform", "asks"), [("linux", 1), ("darwin", 0)])
async def test_niceness_is_optional(
    monkeypatch: pytest.MonkeyPatch, platform: str, asks: int
) -> None:
    requests = []

    def refuse(*request: int) -> None:
        requests.append(request)
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setattr(sys, "platform", platform)
    async with Argon2Hasher(time_cost=1, memory_cost=8, threads=1) as hasher:
        assert await hasher.hash(PASSWORD)
    assert len(requests) == asks


async def test_closing_serves_waiting_callers_and_refuses_new_ones(
    cheap: HeldHasher,
) -> None:
    calls = [await cheap.occupy(), *await fill(cheap, 10)]
    closing = asyncio.create_task(cheap.close())
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await cheap.hash(PASSWORD)
    cheap.let_go.set()
    await closing
    assert await asyncio.gather(*calls) == [False] * 11
    await cheap.close()


def test_unclosed_hasher_does_not_keep_the_process_alive() -> None:
    script = (
        "import asyncio; from chatcore_argon2 import Argon2Hasher; hasher = Argon2Hasher();"
        "print(asyncio.run(hasher.verify('a', asyncio.run(hasher.hash('a')))))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], timeout=120, capture_output=True, check=True, text=True
    )
    assert (ended.stdout, ended.stderr) == ("True\n", "")


@contextmanager
def little_memory(more: int) -> Iterator[None]:
    """Limit this process to `more` bytes above its present size of memory."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@linux_only
async def test_out_of_memory_is_overloaded_and_not_a_damaged_hash(
    caplog: pytest.LogCaptureFixture,
) -> None:
    half_a_gibibyte = 2**19  # in KiB
    greedy = f"$argon2id$v=19$m={half_a_gibibyte},t=1,p=1${SALT_AND_TAG}"
    async with Argon2Hasher(time_cost=1, memory_cost=half_a_gibibyte, threads=1) as hasher:
        await hasher.verify(PASSWORD, FAST)  # Start the thread before memory is short.
        with little_memory(2**27):
            for call in (hasher.hash(PASSWORD), hasher.verify(PASSWORD, greedy)):
                with pytest.raises(Overloaded):
                    await call
    assert not caplog.records


@pytest.mark.parametrize(
    "parameters",
    [
        {"time_cost": 0},
        {"memory_cost": 7},
        {"memory_cost": 31, "parallelism": 4},
        {"parallelism": 0},
        {"threads": 0},
        {"max_waiting": -1},
    ],
    ids=str,
)
def test_impossible_parameters_are_refused(parameters: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Argon2Hasher(**parameters)
