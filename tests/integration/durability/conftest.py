"""Prints at the end what was measured, for everyone to see and the README to quote."""

import os
from collections.abc import Callable

import pytest

from tests.integration.durability.vfs import Unsupported, layered

Figure = Callable[[str], None]

_figures = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def soak() -> bool:
    """Whether the long form was asked for: CHATCORE_SOAK=1."""
    return os.environ.get("CHATCORE_SOAK") == "1"


@pytest.fixture(scope="session")
def reachable_sqlite() -> None:
    """Skips where nothing can be put between SQLite and its files."""
    try:
        with layered(lambda _, proceed: proceed()):
            pass
    except Unsupported as reason:
        pytest.skip(str(reason))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Takes a line for the end of the run."""
    return request.config.stash.setdefault(_figures, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if figures := terminalreporter.config.stash.get(_figures, []):
        terminalreporter.section("durability")
        for line in figures:
            terminalreporter.write_line(line)
