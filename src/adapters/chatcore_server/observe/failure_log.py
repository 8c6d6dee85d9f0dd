"""Keeps the log short during a database outage, when hundreds of requests fail alike."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from chatcore import StoreUnavailable

QUIET_SECONDS = 10.0
"""An outage is over after this long without a failure."""

MAX_REASONS = 10

logger = logging.getLogger("chatcore")


@contextmanager
def summarise_outages() -> Iterator[None]:
    """Within this context, summarise the store failures that the service logs.

    The first failure of an outage is logged with its traceback, the first for each other reason
    in one line; the rest are counted. The count is logged after QUIET_SECONDS without a failure.
    The context must run on the service's event loop.
    """
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
            self._timer = self._loop.call_later(QUIET_SECONDS, self._end_if_quiet)
            _add(record, "further failures of this outage are only counted")
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
            "the database failed %d times in %.1f s; the last failure was %.0f s ago",
            count,
            self._last - self._first,
            self._loop.time() - self._last,
        )

    def _end_if_quiet(self) -> None:
        quiet = self._loop.time() - self._last
        if quiet >= QUIET_SECONDS:
            self.end()
        else:
            self._timer = self._loop.call_later(QUIET_SECONDS - quiet, self._end_if_quiet)


def _failure_in(record: logging.LogRecord) -> StoreUnavailable | None:
    errors = [record.exc_info[1]] if record.exc_info else [*(record.args or ())]
    return next((error for error in errors if isinstance(error, StoreUnavailable)), None)


def _add(record: logging.LogRecord, note: str) -> None:
    record.msg, record.args = f"{record.getMessage()}; {note}", ()
