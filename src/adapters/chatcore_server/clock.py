"""The clock of a node, compared with that of the database that all nodes share."""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from chatcore import Unavailable
from chatcore.model import Clock, Seconds, elapsed, from_microseconds, utc_now

TOLERATED = timedelta(seconds=2)
"""A node whose clock differs by less uses its own."""

TOO_FAR = timedelta(seconds=30)
"""A node whose clock differs by this much does not start."""

REPEAT_SECONDS = 600.0
"""How often a running node logs that its clock still differs."""

_ADVICE = "synchronise both clocks, for example with NTP"

AskTime = Callable[[], Awaitable[int | None]]
"""As `SqlAlchemyStore.time_us`."""

logger = logging.getLogger("chatcore")


class NodeClock:
    """A Clock on which all nodes of a database agree, whose calls cost no I/O.

    While the node's own clock is within TOLERATED of the database's, it is that. Otherwise it is
    the own clock, corrected at each `compare`, so the times of messages and tokens follow the
    database. It follows no jump of the database beyond TOO_FAR, such as to a standby whose clock is
    wrong: the time then goes on as before.
    """

    def __init__(self, own: Clock = utc_now, seconds: Seconds = elapsed) -> None:
        self._own = own
        self._seconds = seconds
        self._correction = timedelta(0)
        self._compared: tuple[datetime, float] | None = None
        """The time at the last `compare`, and its `seconds`."""

    def __call__(self) -> datetime:
        return self._own() + self._correction

    async def compare(self, ask: AskTime) -> timedelta | None:
        """Compare the own clock with the database's, and follow that if they differ.

        Returns how far the own clock is ahead, negative if behind: at least, for the answer may be
        from any moment since the question. None if it came too late to say. Raises Unavailable.
        """
        began, start = self._own(), self._seconds()
        time_us = await ask()
        if time_us is None:
            return None
        theirs, half = from_microseconds(time_us), (self._seconds() - start) / 2
        delay = timedelta(seconds=half)
        own = began + delay
        ahead = _less(own - theirs, delay)
        precise = 2 * delay < TOLERATED
        if precise or self._compared is None:
            self._correction = timedelta(0)
            if abs(ahead) >= TOLERATED:
                correction = self._true(theirs, start + half) - own
                self._correction = correction if abs(correction) >= TOLERATED else timedelta(0)
            self._compared = own + self._correction, start + half
        return ahead if precise or abs(ahead) >= TOLERATED else None

    def _true(self, theirs: datetime, seconds: float) -> datetime:
        """The database's time, or the one that this clock has carried on since the last `compare`
        if the database's has jumped away from it."""
        if self._compared is None:
            return theirs
        moment, before = self._compared
        carried = moment + timedelta(seconds=seconds - before)
        return theirs if abs(theirs - carried) < TOO_FAR else carried


class ClockLog:
    """Logs that the clocks differ: when they begin to, when it gets too far, every 10 minutes from
    then on, and when they agree again."""

    def __init__(self, seconds: Seconds = elapsed) -> None:
        self._seconds = seconds
        self._level = 0
        self._logged = 0.0

    def compared(self, ahead: timedelta | None) -> None:
        """Take the result of `NodeClock.compare`."""
        if ahead is None:
            return
        level = (abs(ahead) >= TOLERATED) + (abs(ahead) >= TOO_FAR)
        now = self._seconds()
        if level > self._level or (level and now - self._logged >= REPEAT_SECONDS):
            log = logger.warning if level == 1 else logger.error
            log("%s: %s", difference(ahead), _ADVICE)
            self._logged = now
        elif self._level and not level:
            logger.warning("the clock of this machine agrees with the database's again")
        self._level = level


def difference(ahead: timedelta) -> str:
    """Say in words how far the clock of this machine is ahead."""
    side = "ahead of" if ahead > timedelta(0) else "behind"
    seconds = abs(ahead).total_seconds()
    return f"the clock of this machine is {seconds:.0f} seconds {side} the database's"


def too_far(ahead: timedelta | None) -> str | None:
    """The reason why a node with this clock cannot start; None if it can. Takes the result of
    `NodeClock.compare`."""
    if ahead is None or abs(ahead) < TOO_FAR:
        return None
    return f"{difference(ahead)}: {_ADVICE}"


async def clock_by(ask: AskTime, own: Clock = utc_now) -> Clock:
    """Return the clock for a command that runs beside the nodes. It is compared once, and is the
    own one if the database cannot answer."""
    clock = NodeClock(own)
    try:
        await clock.compare(ask)
    except Unavailable:
        return own
    return clock


def _less(ahead: timedelta, unsure: timedelta) -> timedelta:
    """Bring the difference nearer to 0, by up to `unsure`."""
    return (
        max(ahead - unsure, timedelta(0))
        if ahead > timedelta(0)
        else min(ahead + unsure, timedelta(0))
    )
