"""Figures measured under faults, printed at the end of the run for the README."""

import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field

import pytest

from tests.support.checker import Fate, Ledger
from tests.support.soak import SOAK

PROPERTY = "figures"
SHOWN_SECONDS = 10
"""`make soak` prints a line for each test that took longer."""


@dataclass
class Figures:
    """The figures of one test."""

    lines: list[str] = field(default_factory=list)
    faults: int = 0
    acknowledged: int = 0

    def note(self, line: str) -> None:
        self.lines.append(line)

    def survived(self, faults: int, what: str, ledger: Ledger) -> None:
        """Count faults of a kind after which the checker found no violation."""
        acknowledged, unknown = ledger.count(Fate.ACKNOWLEDGED), ledger.count(Fate.UNKNOWN)
        self.note(f"{faults:,} {what}: {acknowledged:,} acknowledged sends, {unknown:,} unknown")
        self.faults += faults
        self.acknowledged += acknowledged

    def attach(self, item: pytest.Item) -> None:
        """Attach the figures to the test's report, which reaches the printing process."""
        if self.lines:
            item.user_properties.append((PROPERTY, asdict(self)))


class Progress:
    """Prints the figures of each long test when it ends, and all figures at the end of the run."""

    def __init__(self, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter
        self._started = time.monotonic()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._measured: dict[str, Figures] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration
        if report.when != "teardown":
            return
        seconds = self._seconds.pop(report.nodeid)
        for name, value in report.user_properties:
            if name == PROPERTY and isinstance(value, dict):
                self._measured[report.nodeid] = Figures(**value)
        if SOAK and seconds >= SHOWN_SECONDS:
            self._show(report.nodeid, seconds)

    @pytest.hookimpl
    def pytest_terminal_summary(self) -> None:
        if not self._measured:
            return
        reporter = self._reporter
        reporter.section("durability")
        measured = [figures for _, figures in sorted(self._measured.items())]
        for figures in measured:
            for line in figures.lines:
                reporter.write_line(line)
        faults = sum(figures.faults for figures in measured)
        acknowledged = sum(figures.acknowledged for figures in measured)
        if faults and not (reporter.stats.get("failed") or reporter.stats.get("error")):
            reporter.write_line(
                f"In total {acknowledged:,} acknowledged sends, {faults:,} faults: "
                "0 lost, 0 doubled, 0 reordered"
            )

    def _show(self, test: str, seconds: float) -> None:
        minutes, rest = divmod(int(time.monotonic() - self._started), 60)
        self._reporter.write_line(f"{minutes:3}:{rest:02} {test} took {seconds:.0f} s")
        for line in self._measured.get(test, Figures()).lines:
            self._reporter.write_line(f"         {line}")
