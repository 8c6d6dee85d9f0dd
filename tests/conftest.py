"""What every test shares."""

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import settings

from tests.figures import Figures, figures_of
from tests.soak import SOAK

# No deadline: on a busy machine one slow example would fail a test that proves nothing about speed.
settings.register_profile("short", deadline=None, print_blob=True, max_examples=40)
settings.register_profile("soak", deadline=None, print_blob=True, max_examples=10_000)
settings.load_profile("soak" if SOAK else "short")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio alone: no adapter promises trio."""
    return "asyncio"


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    return figures_of(request.config)


def pytest_sessionfinish(session: pytest.Session) -> None:
    # A process that shares the run with others hands its figures to the one that prints.
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["figures"] = asdict(figures_of(session.config))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    told = getattr(node, "workeroutput", {})  # Nothing, when it crashed.
    if "figures" in told:
        figures_of(node.config).add(**told["figures"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = figures_of(terminalreporter.config)
    if figures.lines:
        terminalreporter.section("durability")
        for line in figures.lines:
            terminalreporter.write_line(line)
        if figures.faults and not terminalreporter.stats.get("failed"):
            terminalreporter.write_line(
                f"In total {figures.acknowledged:,} acknowledged sends, {figures.faults:,} faults: "
                "0 lost, 0 doubled, 0 reordered"
            )
