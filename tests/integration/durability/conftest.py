"""Prints at the end what was measured, for everyone to see and the README to quote."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

# Before their import: so that what they assert is explained when it fails.
pytest.register_assert_rewrite(
    "tests.integration.durability.crowd", "tests.integration.durability.load"
)

from tests.integration.durability.checker import Fate, Ledger  # noqa: E402
from tests.integration.durability.vfs import Unsupported, layered  # noqa: E402
from tests.integration.service import Service  # noqa: E402

ROOT = Path(__file__).parents[3]


@dataclass
class Figures:
    """What was measured."""

    lines: list[str] = field(default_factory=list)
    faults: int = 0
    acknowledged: int = 0

    def note(self, line: str) -> None:
        self.lines.append(line)

    def survived(self, faults: int, what: str, ledger: Ledger) -> None:
        """So many faults of a kind, and the checker found nothing wrong."""
        acknowledged, unknown = ledger.count(Fate.ACKNOWLEDGED), ledger.count(Fate.UNKNOWN)
        self.note(f"{faults:,} {what}: {acknowledged:,} acknowledged sends, {unknown:,} unknown")
        self.faults += faults
        self.acknowledged += acknowledged


_figures = pytest.StashKey[Figures]()


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
def observed_service(
    reachable_sqlite: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Service:
    """A service, not started yet, under observed_service.py."""
    module = "tests.integration.durability.observed_service"
    command = [sys.executable, "-m", module, str(tmp_path)]
    monkeypatch.setattr("tests.integration.service.COMMAND", command)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    return Service(tmp_path)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    return request.config.stash.setdefault(_figures, Figures())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if figures := terminalreporter.config.stash.get(_figures, None):
        terminalreporter.section("durability")
        for line in figures.lines:
            terminalreporter.write_line(line)
        if figures.faults and not terminalreporter.stats.get("failed"):
            terminalreporter.write_line(
                f"In total {figures.acknowledged:,} acknowledged sends, {figures.faults:,} faults: "
                "0 lost, 0 doubled, 0 reordered"
            )
