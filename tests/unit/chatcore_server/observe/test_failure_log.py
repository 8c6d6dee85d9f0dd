"""An outage of the database is logged at its start and its end, not for every request."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from chatcore import StoreUnavailable
from chatcore_server.observe.failure_log import QUIET_SECONDS, summarise_outages

pytestmark = pytest.mark.virtual_time

logger = logging.getLogger("chatcore")


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The lines of the log, with their tracebacks."""
    caplog.set_level(logging.INFO, "chatcore")
    lines: list[str] = []
    form = logging.Formatter("%(message)s")

    class Listed(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(form.format(record))

    handler = Listed()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def a_request_fails(error: Exception) -> None:
    try:
        raise error
    except type(error):
        logger.exception("request %s: %s %s failed", "some-id", "GET", "'/chats'")


async def test_outage_is_logged_at_its_start_and_its_end(logged: list[str]) -> None:
    with summarise_outages():
        for _ in range(100):
            a_request_fails(StoreUnavailable("refused"))
            logger.warning("a stream of events ended: %r", StoreUnavailable("refused"))
            await asyncio.sleep(QUIET_SECONDS / 2)
        a_request_fails(StoreUnavailable("100% busy"))
        first, stream, another = logged
        assert first.startswith("request some-id: GET '/chats' failed; further failures")
        assert "Traceback" in first
        assert "refused" in first
        assert stream == "a stream of events ended: StoreUnavailable('refused')"
        assert another == "request some-id: GET '/chats' failed; 100% busy"
        await asyncio.sleep(QUIET_SECONDS + 1)
        assert logged[3:] == [
            "the database failed 201 times in 500.0 s; the last failure was 10 s ago"
        ]
        a_request_fails(StoreUnavailable("refused"))
        assert "Traceback" in logged[4]


async def test_distinct_errors_of_an_outage_are_logged_up_to_a_bound(logged: list[str]) -> None:
    with summarise_outages():
        for number in range(100):
            a_request_fails(StoreUnavailable(f"{number}"))
        assert len(logged) == 10
    assert logged[10:] == ["the database failed 100 times in 0.0 s; the last failure was 0 s ago"]


async def test_defects_are_logged_each_time(logged: list[str]) -> None:
    with summarise_outages():
        a_request_fails(StoreUnavailable("refused"))
        for _ in range(2):
            a_request_fails(ZeroDivisionError("a defect"))
            logger.info("%(word)s", {"word": "hello"})
    assert [("Traceback" in line) for line in logged] == [True, True, False, True, False, False]


async def test_without_an_outage_log_records_are_unchanged(logged: list[str]) -> None:
    with summarise_outages():
        logger.info("hello")
        await asyncio.sleep(2 * QUIET_SECONDS)
    a_request_fails(StoreUnavailable("refused"))
    a_request_fails(StoreUnavailable("refused"))
    assert logged[0] == "hello"
    assert [("Traceback" in line) for line in logged] == [False, True, True]
