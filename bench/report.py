"""Turns rounds of outcomes into tables."""

import importlib.metadata
import math
import platform
import sqlite3
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from bench.load import Outcome

LIBRARIES = ("chatcore", "litestar", "msgspec", "uvicorn", "httptools", "uvloop", "sqlalchemy")
TEXTBOOK = ("fastapi", "pydantic", "aiosqlite")


@dataclass
class Row:
    """One cell at one number of clients: the rounds of each server, in the same order."""

    cell: str
    clients: int
    chatcore: list[Outcome]
    ceiling: list[Outcome]
    textbook: list[Outcome]

    def to_ceiling(self) -> float:
        return _ratio(self.chatcore, self.ceiling)

    def to_textbook(self) -> float:
        return _ratio(self.chatcore, self.textbook)

    def tail(self) -> float:
        return statistics.median(outcome.p99_ms / outcome.p50_ms for outcome in self.chatcore)


def _ratio(ours: list[Outcome], theirs: list[Outcome]) -> float:
    """The median of the ratios round by round, which a machine's moods disturb least."""
    return statistics.median(
        a.rate / b.rate if b.rate else math.inf for a, b in zip(ours, theirs, strict=True)
    )


def table(rows: Iterable[Row]) -> str:
    lines = [
        "| request | clients | chatcore, /s | p50, ms | p99, ms | p99/p50 | ceiling, /s "
        "| **of the ceiling** | textbook, /s | **times the textbook** |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        p50 = statistics.median(outcome.p50_ms for outcome in row.chatcore)
        p99 = statistics.median(outcome.p99_ms for outcome in row.chatcore)
        ours, ceiling, textbook = (
            statistics.median(outcome.rate for outcome in outcomes)
            for outcomes in (row.chatcore, row.ceiling, row.textbook)
        )
        lines.append(
            f"| {row.cell} | {row.clients} | {_rate(ours)} | {p50:.2f} | {p99:.2f} "
            f"| {row.tail():.1f} | {_rate(ceiling)} | **{row.to_ceiling():.2f}** "
            f"| {_rate(textbook)} | **{_times(row.to_textbook())}** |"
        )
    return "\n".join(lines)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def _times(ratio: float) -> str:
    """A dash for the many times that nothing is."""
    return "–" if math.isinf(ratio) else f"{ratio:.1f}"


def versions() -> str:
    found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    others = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in TEXTBOOK)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {found}; the textbook: {others}."
    )
