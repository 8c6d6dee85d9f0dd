"""Move read markers, at most once a second, so that no client can flood a peer's log."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from chatcore.errors import ChatcoreError
from chatcore.model import Chat, Clock, User, to_microseconds
from chatcore.ports import ChatStore

SECONDS_APART = 1.0
MAX_PACES = 10_000


@dataclass(slots=True, eq=False)
class _Move:
    """A move of a marker; callers join it until it begins."""

    wanted: int = 0
    marker: int | None = None
    """The marker after the move."""
    error: ChatcoreError | None = None


@dataclass(slots=True, eq=False)
class _Pace:
    marker: int = -1
    """The last known marker; another process may have moved it forward."""
    moved_at: float = float("-inf")
    next: _Move = field(default_factory=_Move)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Markers:
    """Moves each user's marker in each chat at most once a second. An earlier call waits, and one
    move to the highest wanted number serves all waiting calls. Calls `moved` after each move,
    except for a move that is known to have changed nothing."""

    def __init__(self, store: ChatStore, clock: Clock, moved: Callable[[Chat], None]) -> None:
        self._store = store
        self._clock = clock
        self._moved = moved
        self._paces: dict[tuple[int, int], _Pace] = {}

    def forget(self) -> None:
        """Forget the known markers: the store may have lost their moves."""
        for pace in tuple(self._paces.values()):
            pace.marker = -1

    async def move(self, chat: Chat, user: User, seq: int) -> int:
        """Return the marker after the move. Raises as `ChatStore.move_read_marker` does."""
        pace = self._pace(chat.id, user.id)
        if seq <= pace.marker:
            return pace.marker
        move = pace.next
        move.wanted = max(move.wanted, seq)
        # The first caller moves for all. If it is cancelled, the next caller does.
        async with pace.turn:
            if move.error:
                raise type(move.error)(*move.error.args) from move.error
            if move.marker is None:
                move.marker = await self._carry_out(move, pace, chat, user)
        return move.marker

    async def _carry_out(self, move: _Move, pace: _Pace, chat: Chat, user: User) -> int:
        loop = asyncio.get_running_loop()
        if (early := pace.moved_at + SECONDS_APART - loop.time()) > 0:
            await asyncio.sleep(early)
        if pace.next is move:
            # A later caller may want a higher number than this move goes to.
            pace.next = _Move()
        pace.moved_at = loop.time()
        now = to_microseconds(self._clock())
        try:
            marker = await self._store.move_read_marker(chat.id, user.id, move.wanted, now)
        except ChatcoreError as error:
            move.error = error
            raise
        if marker > pace.marker:
            pace.marker = marker
            self._moved(chat)
        return marker

    def _pace(self, chat_id: int, user_id: int) -> _Pace:
        pace = self._paces.pop((chat_id, user_id), None) or _Pace()
        if len(self._paces) >= MAX_PACES:
            # The least recently used entry, since dictionaries keep their order.
            del self._paces[next(iter(self._paces))]
        self._paces[chat_id, user_id] = pace
        return pace
