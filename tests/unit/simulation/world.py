"""What everything in a simulated run shares: chance, time, the trace, and the truth."""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from chatcore import Chat, Cursor, Event, Message, User, UserName
from chatcore.events import Entry
from chatcore_memory import MemoryStore
from tests.unit.simulation.virtual import VirtualLoop, run_now

POLL_SECONDS = 5.0
SLOWEST_STEP = 0.3  # seconds that a call of the store takes at most

_START = datetime(2026, 1, 1, tzinfo=UTC)
_NAMES = ("Ann", "Bob", "Cid", "Dan", "Eve")


class Violation(AssertionError):
    """A promise that was not kept."""


class Logged(NamedTuple):
    at: float
    entry: Entry


class World:
    """One seed's run. All chance comes from `rng`."""

    def __init__(self, seed: int, loop: VirtualLoop, store: MemoryStore) -> None:
        self.rng = random.Random(seed)
        self.loop = loop
        self.store = store
        """The truth, to be asked directly by checks alone."""
        self.faulty = True
        """Whether things go wrong still."""
        self.users = [
            run_now(store.add_user(UserName(name), "", 0))
            for name in _NAMES[: self.rng.randint(2, 5)]
        ]
        self.logs: dict[int, list[Logged]] = {user.id: [] for user in self.users}
        """Every entry ever logged for a user, whatever was trimmed since."""
        self.marked: dict[tuple[int, int], int] = {}
        """The furthest acknowledged marker by user and chat."""
        self.acknowledged: Counter[int] = Counter()
        """The newest acknowledged message by chat."""
        self.chats: dict[int, Chat] = {}
        self.messages: dict[int, list[Message]] = {}
        self.counts: Counter[str] = Counter()
        self.trace: list[str] = []
        self.violations: list[BaseException] = []

    # Chance.

    def chance(self, probability: float) -> bool:
        """Whether something goes wrong; never once faults have stopped."""
        return self.faulty and self.rng.random() < probability

    def clock(self, skew: float) -> datetime:
        # Coarse, as many clocks are: neighbours share a time.
        return _START + timedelta(seconds=round(self.loop.time() + skew, 2))

    # The trace.

    def note(self, *words: object) -> None:
        self.trace.append(f"{self.loop.time():.6f} {' '.join(map(str, words))}")

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def check(self, kept: bool, *promise: object) -> None:
        if not kept:
            violation = Violation(" ".join(map(str, promise)))
            self.note("VIOLATION", violation)
            self.violations.append(violation)
            raise violation

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of the simulation itself: whatever it raises is a violation."""
        task = self.loop.create_task(work)
        task.add_done_callback(self.ended)
        return task

    def ended(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error and error not in self.violations:
            self.note("VIOLATION", repr(error))
            self.violations.append(error)

    # The truth.

    def observe(self) -> list[int]:
        """Take down what the store's last step has logged, and for whom."""
        grown = []
        for user in self.users:
            log = self.logs[user.id]
            end = run_now(self.store.end_of_log(user.id))
            if end.n == len(log):
                continue
            grown.append(user.id)
            # Not a subclass's: what it reads may be wrong on purpose.
            entries = MemoryStore.events_after(self.store, end._replace(n=len(log)), limit=500)
            for entry in run_now(entries) or ():
                self._take(user, entry)
            self.check(end.n == len(log), "the log of", user.name, "has gaps")
        return grown

    def _take(self, user: User, entry: Entry) -> None:
        log = self.logs[user.id]
        self.check(entry.cursor.n == len(log) + 1, "the log of", user.name, "has gaps")
        log.append(Logged(self.loop.time(), entry))
        self.chats[entry.chat.id] = entry.chat
        messages = run_now(self.store.messages_after(entry.chat.id, 0, limit=500))
        self.messages[entry.chat.id] = list(messages)
        self.note("logged", user.name, describe(entry))

    def can_tell(self, after: Cursor) -> bool:
        """Whether the store can tell what followed."""
        return run_now(MemoryStore.events_after(self.store, after, limit=1)) is not None


def describe(event: Event) -> str:
    """The event in words that are the same in every run of a seed."""
    # The cursor's whole text holds the store's name, which is random.
    words: list[object] = [event.cursor.n, type(event).__name__]
    words += [getattr(event, name) for name in ("seq",) if hasattr(event, name)]
    words += [message.text for message in _messages(event)]
    return " ".join(map(str, words))


def _messages(event: Event) -> Iterable[Message]:
    message = getattr(event, "message", None)
    return (message,) if message else ()
