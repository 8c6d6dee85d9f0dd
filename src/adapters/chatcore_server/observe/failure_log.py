"""Keeps the log short while the database fails: hundreds of requests fail in the same way then."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from chatcore import StoreUnavailable

QUIET_SECONDS = 10.0
"""Without a failure: then the outage is over."""

MAX_REASONS = 10

logger = logging.getLogger("chatcore")


@contextmanager
def summarise_outages() -> Iterator[None]:
    """Within this context, and on its event loop: of the failures of the store that the service
    logs, the first of an outage is logged with its traceback, the first for each other reason in
    a line, and the rest are counted. The count is logged when there was none for QUIET_SECONDS."""
    outages = _Outages()
    logger.addFilter(outages)
    try:
        yield
    finally:
        logger.removeFilter(outages)
        outages.end()


class _Outages(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._reasons = set[tuple[str, str]]()
        self._count = 0
        self._first = self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if (failure := _failure_in(record)) is None:
            return True
        now = self._last = self._loop.time()
        self._count += 1
        reason = (record.msg, str(failure))
        if self._timer is None:
            self._first = now
            self._timer = self._loop.call_later(QUIET_SECONDS, self._look)
            _add(record, "as long as this lasts, more of it is only counted")
        elif reason in self._reasons or len(self._reasons) >= MAX_REASONS:
            return False
        elif record.exc_info:
            record.exc_info = None
            _add(record, str(failure))
        self._reasons.add(reason)
        return True

    def end(self) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._reasons.clear()
        count, self._count = self._count, 0
        logger.warning(
            "the database failed %d times in %.1f s, and not since %.0f s ago",
            count,
            self._last - self._first,
            self._loop.time() - self._last,
        )

    def _look(self) -> None:
        quiet = self._loop.time() - self._last
        if quiet >= QUIET_SECONDS:
            self.end()
        else:
            self._timer = self._loop.call_later(QUIET_SECONDS - quiet, self._look)


def _failure_in(record: logging.LogRecord) -> StoreUnavailable | None:
    errors = [record.exc_info[1]] if record.exc_info else [*(record.args or ())]
    return next((error for error in errors if isinstance(error, StoreUnavailable)), None)


def _add(record: logging.LogRecord, words: str) -> None:
    record.msg, record.args = f"{record.getMessage()}; {words}", ()
