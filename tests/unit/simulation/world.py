"""The shared state of a simulated run: randomness, time, the trace, and the true store."""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from chatcore import Chat, Cursor, Event, Message, User
from chatcore.events import Entry
from chatcore_memory import MemoryStore
from tests.unit.simulation.naming import Names
from tests.unit.simulation.virtual import VirtualLoop, run_now

POLL_SECONDS = 5.0
SLOWEST_STEP = 0.3  # the longest call of the store, in seconds

_START = datetime(2026, 1, 1, tzinfo=UTC)
_NAMES = ("Ann", "Bob", "Cid", "Dan", "Eve")


class Violation(AssertionError):
    """A broken promise of the service."""


class Logged(NamedTuple):
    at: float
    entry: Entry


class World:
    """The state of one seed's run. All randomness comes from `rng`."""

    def __init__(self, seed: int, loop: VirtualLoop, store: MemoryStore) -> None:
        self.rng = random.Random(seed)
        self.loop = loop
        self.store = store
        """The true store. Only checks read it directly."""
        self.faulty = True
        """Whether faults still happen."""
        self.names = Names(store, _NAMES[: self.rng.randint(2, 5)])
        self.users = self.names.users
        self.logs: dict[int, list[Logged]] = {user.id: [] for user in self.users}
        """Every entry ever logged for a user, including trimmed entries."""
        self.marked: dict[tuple[int, int], int] = {}
        """The furthest acknowledged marker by user and chat."""
        self.acknowledged: Counter[int] = Counter()
        """The newest acknowledged message by chat."""
        self.chats: dict[int, Chat] = {}
        self.messages: dict[int, list[Message]] = {}
        self.attempts: dict[str, list[float]] = {}
        """When the attempts under way to send a text began."""
        self.stored_at: dict[str, float] = {}
        """When each text was stored."""
        self.counts: Counter[str] = Counter()
        self.trace: list[str] = []
        self.violations: list[BaseException] = []

    # Randomness.

    def chance(self, probability: float) -> bool:
        """Draw whether a fault happens; always False once faults have stopped."""
        return self.faulty and self.rng.random() < probability

    def clock(self, skew: float) -> datetime:
        # Coarse, like many clocks: nearby events share a time.
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
        """Start a task of the simulation itself: any exception in it is a violation."""
        task = self.loop.create_task(work)
        task.add_done_callback(self.ended)
        return task

    def ended(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error and error not in self.violations:
            self.note("VIOLATION", repr(error))
            self.violations.append(error)

    # The true store.

    def observe(self) -> list[int]:
        """Record the entries, per user, that the store's last step logged."""
        grown = []
        for user in self.users:
            log = self.logs[user.id]
            end = run_now(self.store.end_of_log(user.id))
            if end.n == len(log):
                continue
            grown.append(user.id)
            # MemoryStore's own method: a subclass may read wrongly on purpose.
            entries = MemoryStore.events_after(self.store, end.at(len(log)), limit=500)
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
        for message in _messages(entry):
            self.stored_at.setdefault(message.text, self.loop.time())
        self.note("logged", user.name, describe(entry))

    def can_tell(self, after: Cursor) -> bool:
        """Whether the store still has every entry after the cursor."""
        return run_now(MemoryStore.events_after(self.store, after, limit=1)) is not None


def describe(event: Event) -> str:
    """Describe the event in words that are the same in every run of a seed."""
    # The cursor's full text contains the store's random id.
    words: list[object] = [event.cursor.n, type(event).__name__]
    words += [getattr(event, name) for name in ("seq",) if hasattr(event, name)]
    words += [message.text for message in _messages(event)]
    return " ".join(map(str, words))


def _messages(event: Event) -> Iterable[Message]:
    message = getattr(event, "message", None)
    return (message,) if message else ()
