"""A node whose clock differs from the database's follows that of the database."""

import logging
from datetime import datetime, timedelta

import pytest

from chatcore.testing import VirtualClock
from chatcore_server.clock import ClockLog, NodeClock, clock_by, too_far
from tests.support.shared_database import SharedDatabase

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


class Node:
    """A NodeClock on a machine whose own clock is `skew` ahead of the true time."""

    def __init__(self, skew: timedelta = timedelta(0)) -> None:
        self.true, self.skew = VirtualClock(), skew
        self.database = SharedDatabase(self.true)
        self.clock = NodeClock(self.own, self.true.seconds)

    def own(self) -> datetime:
        return self.true() + self.skew

    async def compare(self) -> timedelta | None:
        """Compare, as every minute."""
        self.true.advance(60 * SECOND)
        return await self.clock.compare(self.database.time_us)

    @property
    def error(self) -> timedelta:
        """How far the node's time is ahead of the true time."""
        return self.clock() - self.true()


@pytest.mark.parametrize("seconds", [-1.9, -0.001, 0, 0.5, 1.9])
async def test_node_within_two_seconds_keeps_its_own_clock(seconds: float) -> None:
    node = Node(seconds * SECOND)
    assert await node.compare() == node.skew
    assert node.error == node.skew


@pytest.mark.parametrize("seconds", [-3600, -25, -2, 2, 25, 3600])
async def test_node_with_another_time_follows_the_database(seconds: float) -> None:
    node = Node(seconds * SECOND)
    for _ in range(3):
        assert await node.compare() == node.skew
        assert node.error == timedelta(0)
    node.skew = timedelta(0)
    assert await node.compare() == timedelta(0)
    assert node.error == timedelta(0)


async def test_clock_set_while_the_node_runs_is_corrected_at_the_next_comparison() -> None:
    node = Node()
    await node.compare()
    for node.skew in (HOUR, -HOUR, 10 * SECOND):
        assert node.error != timedelta(0)
        assert await node.compare() == node.skew
        assert node.error == timedelta(0)


@pytest.mark.parametrize("skew", [timedelta(0), 25 * SECOND, -25 * SECOND])
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_node_does_not_follow_a_database_that_jumps(skew: timedelta, jump: timedelta) -> None:
    """As after a failover to a server whose clock is wrong: tokens and sessions stay valid."""
    node = Node(skew)
    await node.compare()
    node.database.jumped = jump
    for _ in range(3):
        assert await node.compare() == skew - jump
        assert node.error == timedelta(0)
    node.database.jumped = timedelta(0)
    assert await node.compare() == skew
    assert node.error == timedelta(0)


async def test_time_that_the_answer_takes_is_no_difference() -> None:
    node = Node()
    for node.database.answer_seconds in (0.1, 1.0, 1.9):
        assert await node.compare() == timedelta(0)
        assert node.error == timedelta(0)
    node.database.answer_seconds, node.skew = 1.0, 10 * SECOND
    # It read the time within that second; the halves of the round trip are taken to be equal.
    assert await node.compare() == 9 * SECOND
    assert abs(node.error) <= SECOND / 2


async def test_late_answer_changes_nothing() -> None:
    node = Node(10 * SECOND)
    await node.compare()
    node.database.answer_seconds, node.skew = 30.0, timedelta(0)
    assert await node.compare() is None
    assert node.error == -10 * SECOND
    node.database.answer_seconds = 0
    await node.compare()
    assert node.error == timedelta(0)


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        (29.9, None),
        (-29.9, None),
        (30, "is 30 seconds ahead of the database's: synchronise"),
        (-3600, "is 3600 seconds behind the database's: synchronise"),
    ],
)
def test_thirty_seconds_are_too_far(seconds: float, reason: str | None) -> None:
    found = too_far(seconds * SECOND)
    assert found == reason if reason is None else reason in str(found)
    assert too_far(None) is None


async def test_command_beside_the_nodes_has_their_time() -> None:
    node = Node(HOUR)
    found = await clock_by(node.database.time_us, node.own)
    assert abs(found() - node.true()) < HOUR / 2
    node.database.fails = True
    assert (await clock_by(node.database.time_us, node.own))() == node.own()


def test_difference_is_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    watch = VirtualClock()
    log = ClockLog(watch.seconds)

    def lines(*seconds: float | None) -> list[tuple[int, str]]:
        """The levels and lines that a comparison every minute logs."""
        caplog.clear()
        for each in seconds:
            watch.advance(60 * SECOND)
            log.compared(None if each is None else each * SECOND)
        return [(it.levelno, it.getMessage()) for it in caplog.records]

    assert lines(0, 1.9, None, -1.9) == []
    [(level, line)] = lines(5, 5, None, 6, -5)
    assert level == logging.WARNING
    assert "5 seconds ahead of the database's: synchronise both clocks" in line
    [(level, line)] = lines(-40, -41)
    assert (level, "40 seconds behind" in line) == (logging.ERROR, True)
    assert len(lines(*[-40.0] * 30)) == 3
    [(_, line)] = lines(1, 1, 1)
    assert "agrees with the database's again" in line
    assert len(lines(5)) == 1
