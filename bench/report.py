"""The tables of the report."""

import importlib.metadata
import math
import platform
import sqlite3
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bench.load import Outcome

LIBRARIES = ("chatcore", "litestar", "msgspec", "uvicorn", "httptools", "uvloop", "sqlalchemy")
TEXTBOOK = ("fastapi", "pydantic", "aiosqlite")

NOTHING = math.nan
"""An unknown figure, since no request succeeded: a dash in the report."""


@dataclass
class Row:
    """One cell at one number of clients, with each server's rounds in the same order."""

    cell: str
    clients: int
    rounds: dict[str, list[Outcome]] = field(default_factory=dict)

    def rate(self, server: str) -> float:
        return _median(outcome.rate for outcome in self.rounds.get(server, ()))

    def cpu_us(self, server: str) -> float:
        return _median(outcome.cpu_us for outcome in self.rounds.get(server, ()))

    def latency(self, server: str) -> tuple[float, float, float]:
        """p50 and p99 in milliseconds, and the median ratio of p99 to p50."""
        answered = [
            outcome for outcome in self.rounds.get(server, ()) if outcome.ok and outcome.p50_ms
        ]
        return (
            _median(outcome.p50_ms for outcome in answered),
            _median(outcome.p99_ms for outcome in answered),
            _median(outcome.p99_ms / outcome.p50_ms for outcome in answered),
        )

    def ratio(self, server: str, other: str) -> float:
        """The median of the ratios round by round, which changes of machine load affect least."""
        pairs = self._pairs(server, other)
        return _median(ours.rate / theirs.rate for ours, theirs in pairs if theirs.rate)

    def cpu_ratio(self, server: str, other: str) -> float:
        pairs = self._pairs(server, other)
        return _median(ours.cpu_us / theirs.cpu_us for ours, theirs in pairs if theirs.cpu_us)

    def _pairs(self, server: str, other: str) -> Iterable[tuple[Outcome, Outcome]]:
        """The rounds of both servers; empty if one was not measured."""
        return zip(self.rounds.get(server, ()), self.rounds.get(other, ()), strict=False)


def _median(values: Iterable[float]) -> float:
    found = [value for value in values if math.isfinite(value)]
    return statistics.median(found) if found else NOTHING


def table(rows: Iterable[Row]) -> str:
    lines = [
        "| request | clients | chatcore, /s | p50, ms | p99, ms | p99/p50 | ceiling, /s "
        "| **of the ceiling** | textbook, /s | **times the textbook** |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        p50, p99, tail = row.latency("chatcore")
        lines.append(
            f"| {row.cell} | {row.clients} | {_rate(row.rate('chatcore'))} | {shown(p50, 2)} "
            f"| {shown(p99, 2)} | {shown(tail, 1)} | {_rate(row.rate('ceiling'))} "
            f"| **{shown(row.ratio('chatcore', 'ceiling'), 2)}** | {_rate(row.rate('textbook'))} "
            f"| **{shown(row.ratio('chatcore', 'textbook'), 1)}** |"
        )
    return "\n".join(lines)


def cpu_table(rows: Iterable[Row]) -> str:
    lines = [
        "| request | clients | bare, µs | ceiling, µs | chatcore, µs | **times bare** "
        "| PostgreSQL, µs | **times bare** | textbook, µs |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        bare, ceiling, chatcore, postgres, textbook = (
            _microseconds(row.cpu_us(server))
            for server in ("bare", "ceiling", "chatcore", "PostgreSQL", "textbook")
        )
        lines.append(
            f"| {row.cell} | {row.clients} | {bare} | {ceiling} | {chatcore} "
            f"| **{shown(row.cpu_ratio('chatcore', 'bare'), 1)}** | {postgres} "
            f"| **{shown(row.cpu_ratio('PostgreSQL', 'bare'), 1)}** | {textbook} |"
        )
    return "\n".join(lines)


def postgres_table(rows: Iterable[Row]) -> str:
    lines = [
        "| request | clients | PostgreSQL, /s | p50, ms | p99, ms | **of SQLite's** "
        "| **of the ceiling** | textbook, /s | **times the textbook** "
        "| one by one, /s | **times one by one** |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        p50, p99, _ = row.latency("PostgreSQL")
        lines.append(
            f"| {row.cell} | {row.clients} | {_rate(row.rate('PostgreSQL'))} | {shown(p50, 2)} "
            f"| {shown(p99, 2)} | **{shown(row.ratio('PostgreSQL', 'chatcore'), 2)}** "
            f"| **{shown(row.ratio('PostgreSQL', 'ceiling'), 2)}** "
            f"| {_compared(row, 'textbook on PostgreSQL')} | {_compared(row, 'one by one')} |"
        )
    return "\n".join(lines)


def _compared(row: Row, other: str) -> str:
    if other not in row.rounds:
        return "|"
    return f"{_rate(row.rate(other))} | **{shown(row.ratio('PostgreSQL', other), 1)}**"


def _microseconds(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else shown(value, 0)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else shown(rate or NOTHING, 1)


def shown(value: float, digits: int) -> str:
    """Format the value; a dash if it is unknown."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def versions() -> str:
    found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    others = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in TEXTBOOK)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {found}; the textbook: {others}."
    )
