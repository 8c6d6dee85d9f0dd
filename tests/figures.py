"""What was measured while things were broken, for everyone to see and the README to quote."""

from dataclasses import dataclass, field

import pytest

from tests.integration.durability.checker import Fate, Ledger


@dataclass
class Figures:
    """Printed at the end of the run."""

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

    def add(self, lines: list[str], faults: int, acknowledged: int) -> None:
        """What another process measured."""
        self.lines += lines
        self.faults += faults
        self.acknowledged += acknowledged


KEY = pytest.StashKey[Figures]()


def figures_of(config: pytest.Config) -> Figures:
    return config.stash.setdefault(KEY, Figures())
