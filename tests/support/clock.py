"""A clock that a test moves by hand."""

from datetime import UTC, datetime, timedelta


class Clock:
    """A wall clock, which can also be set, and the seconds that pass."""

    def __init__(self, now: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self.now = now
        self.passed = 0.0

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.passed

    def wait(self, duration: timedelta) -> None:
        self.now += duration
        self.passed += duration.total_seconds()


class Watch:
    """A monotonic clock, in seconds."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
