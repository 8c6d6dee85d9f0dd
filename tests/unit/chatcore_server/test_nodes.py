"""Nodes of one database compare their keys and clocks, at the start and every minute."""

import asyncio
import hmac
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest

from chatcore.testing import VirtualClock, VirtualTimeLoop
from chatcore_jwt.tokens import COMPACT
from chatcore_server.clock import NodeClock
from chatcore_server.nodes import as_node
from chatcore_server.secret import key_digests
from chatcore_server.settings import CannotStart
from tests.support.shared_database import SharedDatabase

pytestmark = pytest.mark.virtual_time

A, B = "key A: thirty-two bytes, or more", "key B: thirty-two bytes, or more"
BOTH = f"new:{B},old:{A}"


@pytest.fixture
async def true() -> VirtualClock:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop.clock


@pytest.fixture
def database(true: VirtualClock) -> SharedDatabase:
    return SharedDatabase(true)


class Starting:
    """Starts nodes of one database, and stops them at the end."""

    def __init__(self, database: SharedDatabase, stack: AsyncExitStack) -> None:
        self._database = database
        self._stack = stack

    async def __call__(self, key: str | None, own: Callable[[], object] | None = None) -> NodeClock:
        clock = NodeClock(own or self._database.true, self._database.true.seconds)  # type: ignore[arg-type]
        digests_of = None if key is None else partial(key_digests, key)
        await self._stack.enter_async_context(
            as_node(self._database, digests_of, clock, seconds=self._database.true.seconds)
        )
        return clock


async def test_node_without_a_common_key_does_not_start(database: SharedDatabase) -> None:
    async with AsyncExitStack() as stack:
        start = Starting(database, stack)
        await start(A)
        for wrong in (B, B + "!", f"new:{B},old:{B}!"):
            with pytest.raises(CannotStart, match=r"no key in common .* seen 40 sec") as refusal:
                await start(wrong)
            assert "\n" not in str(refusal.value)
            assert not any(key in str(refusal.value) for key in (A, B, "thirty-two"))
        assert len(database.seen) == 1
    # When all have stopped, any key will do: a leaked one can be replaced.
    assert database.seen == {}
    async with AsyncExitStack() as stack:
        await Starting(database, stack)(B)


@pytest.mark.parametrize(
    "steps", [(A, BOTH, B), (A, f"new:{A},old:{B}", BOTH, B)], ids=["two steps", "three steps"]
)
async def test_rolling_change_of_keys_passes_at_every_step(
    steps: tuple[str, ...], database: SharedDatabase
) -> None:
    """Three nodes restart one by one. In between, another one starts with the former keys."""
    nodes = [AsyncExitStack() for _ in range(3)]
    for node in nodes:
        await Starting(database, node)(steps[0])
    for before, after in pairwise(steps):
        for node in nodes:
            await node.aclose()
            await Starting(database, node)(after)
            async with AsyncExitStack() as another:
                await Starting(database, another)(before)
    for node in nodes:
        await node.aclose()


async def test_hosts_without_a_secret_are_not_compared(database: SharedDatabase) -> None:
    async with AsyncExitStack() as stack:
        start = Starting(database, stack)
        await start(A)
        await start(None)
        assert len(database.seen) == 1


async def test_disagreement_that_begins_while_a_node_runs_is_logged(
    database: SharedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """As for a node that was frozen for so long that others with another key started."""
    async with AsyncExitStack() as stack:
        await Starting(database, stack)(A)
        database.seen = {"another": frozenset(key_digests(B, "store"))}
        await asyncio.sleep(19 * 60)
        assert len(caplog.records) == 2
        assert "no key in common" in caplog.text
        assert A not in caplog.text
        database.seen.clear()
        await asyncio.sleep(61)
        assert len(database.seen) == 1
        assert len(caplog.records) == 2


@pytest.mark.parametrize("seconds", [30.0, -30.0, 3600.0])
async def test_node_with_a_wrong_clock_does_not_start(
    seconds: float, database: SharedDatabase
) -> None:
    skew = timedelta(seconds=seconds)
    async with AsyncExitStack() as stack:
        with pytest.raises(CannotStart, match=f"{abs(seconds):.0f} seconds") as refusal:
            await Starting(database, stack)(A, lambda: database.true() + skew)
        assert "\n" not in str(refusal.value)
    assert database.seen == {}


async def test_node_warns_from_two_seconds_and_compares_every_minute(
    database: SharedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    skew = timedelta(seconds=5)
    async with AsyncExitStack() as stack:
        clock = await Starting(database, stack)(None, lambda: database.true() + skew)
        [warning] = caplog.records
        assert "5 seconds ahead" in warning.getMessage()
        before = database.questions
        skew = timedelta(hours=-1)
        await asyncio.sleep(61)
        assert database.questions == before + 1
        assert clock() == database.true()
        assert "3600 seconds behind" in caplog.records[-1].getMessage()
    await asyncio.sleep(300)
    assert database.questions == before + 1


async def test_outage_is_no_disagreement(
    database: SharedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    database.fails = True
    async with AsyncExitStack() as stack:
        await Starting(database, stack)(A)
        [warning] = caplog.records
        assert "cannot be compared" in warning.getMessage()
        await asyncio.sleep(600)
        assert len(caplog.records) == 1
        database.fails = False
        await asyncio.sleep(61)
        assert len(database.seen) == 1
        database.fails = True
    assert len(caplog.records) == 1


def test_digest_depends_on_the_key_and_the_store() -> None:
    [digest] = key_digests(A, "store")
    assert len(bytes.fromhex(digest)) == 32
    assert {*key_digests(BOTH, "store")} == {digest, *key_digests(B, "store")}
    assert len({*key_digests(BOTH, "store"), *key_digests(BOTH, "another store")}) == 4


def test_digest_of_a_key_is_no_signature_of_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of the database must not find a signature there."""
    signed = []

    def digest(key: bytes, text: bytes, algorithm: str) -> bytes:
        signed.append(text.decode())
        return b""

    monkeypatch.setattr(hmac, "digest", digest)
    key_digests(BOTH, "store")
    assert len(signed) == 2
    assert not any(COMPACT.match(f"{text}.signature") for text in signed)
