"""What every test shares."""

import gc
import logging
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.figures import Figures, Progress
from tests.support.soak import SOAK

# No deadline: on a busy machine one slow example would fail a test that proves nothing about speed.
settings.register_profile("short", deadline=None, print_blob=True, max_examples=40)
settings.register_profile("soak", deadline=None, print_blob=True, max_examples=1_000)
settings.load_profile("soak" if SOAK else "short")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio alone: no adapter promises trio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Undo what an application of a host does to logging: Litestar's default writes all to
    stderr."""
    level, handlers = logging.root.level, logging.root.handlers[:]
    yield
    logging.root.setLevel(level)
    logging.root.handlers[:] = handlers


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    measured = Figures()
    yield measured
    measured.attach(request.node)


def pytest_sessionstart(session: pytest.Session) -> None:
    # A worker of a parallel run has no terminal.
    plugins = session.config.pluginmanager
    if reporter := plugins.getplugin("terminalreporter"):
        plugins.register(Progress(reporter))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A long test that starts last would run when all else is done.
    if SOAK:
        items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    # The collected tests live to the end: scanning them at every collection took a fifth of the
    # time of the unit tests.
    gc.freeze()
