"""What a disk may hold after a power cut.

Until a file is synced, each write may have reached the disk wholly, in some sectors or not at
all, independently of earlier writes. Where a file grew, a sector that was not written may hold
anything. A failed sync may have discarded its writes: no later sync makes them durable
(https://wiki.postgresql.org/wiki/Fsync_Errors). The creation or removal of a file's entry in
its folder is durable once the folder is synced.

One assumption is SQLite's own (https://sqlite.org/psow.html): a write does not damage the
bytes beside it.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from tests.integration.durability.vfs import Operation

FORTUNES = ("lost", "kept", "whole writes", "sectors")
"""The possible fates of a write that no sync has made durable."""


class Event(NamedTuple):
    moment: int
    """The clock before the operation was done."""
    operation: Operation
    began: int
    """The number of events before the operation began, which a sync may have made durable."""


@dataclass
class Recording:
    """A layer that records enough to tell what the disk may hold at any moment."""

    clock: Callable[[], int]
    initial: dict[str, bytes] = field(default_factory=dict)
    """The files in the folder before, by name."""
    events: list[Event] = field(default_factory=list)

    def layer(self, operation: Operation, proceed: Callable[[], int]) -> int:
        began = len(self.events)
        if operation.kind in {"read", "map"}:
            return proceed()
        if operation.kind in {"sync", "sync folder"}:
            if code := proceed():
                operation = operation._replace(kind=f"failed {operation.kind}")
            self.events.append(Event(self.clock(), operation, began))
            return code
        self.events.append(Event(self.clock(), operation, began))
        return proceed()

    def moment(self, at: int) -> int:
        """The latest moment that may precede a power cut after the first `at` events."""
        return self.events[at].moment if at < len(self.events) else self.clock()

    def answers(self) -> list[int]:
        """The counts of events right after which a caller got an answer."""
        pairs = zip(self.events, self.events[1:], strict=False)
        return [n for n, (one, two) in enumerate(pairs, start=1) if one.moment < two.moment]


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    writes: dict[int, Operation] = field(default_factory=dict)
    """In the order of their numbers, from the first one that is not durable."""
    synced: set[int] = field(default_factory=set)
    forgotten: set[int] = field(default_factory=set)
    """Discarded by a failed sync: no later sync makes them durable."""

    def sync(self, began: int) -> None:
        self.synced |= {number for number in self.writes if number < began} - self.forgotten
        for number in [*self.writes]:
            if number not in self.synced:
                break
            _apply(self.durable, self.writes.pop(number))

    def fail_to_sync(self, began: int) -> None:
        self.forgotten |= {number for number in self.writes if number < began} - self.synced

    def after_cut(self, fortune: str, random: Random) -> bytes:
        content = bytearray(self.durable)
        sector = random.choice((512, 4096))
        fill = random.choice((bytes, random.randbytes))
        for number, operation in self.writes.items():
            if number in self.synced or fortune == "kept":
                _apply(content, operation)
            elif fortune == "whole writes" and random.getrandbits(1):
                _apply(content, operation, fill)
            elif fortune == "sectors":
                for piece in _sectors(operation, sector):
                    if random.getrandbits(1):
                        _apply(content, piece, fill)
        return bytes(content)


def after_cut(recording: Recording, at: int, fortune: str, random: Random) -> dict[str, bytes]:
    """The files, by name, that a power cut after the first `at` events may leave."""
    # A name may stand for any file that it named since the folder was last synced.
    names: dict[str, list[_File | None]] = {
        name: [_File(bytearray(content))] for name, content in recording.initial.items()
    }
    for number, (_, operation, began) in enumerate(recording.events[:at]):
        meant = names.setdefault(os.path.basename(operation.path), [None])
        if operation.kind == "sync folder":
            names = {name: since[-1:] for name, since in names.items()}
        elif operation.kind == "delete":
            meant.append(None)
        else:
            if (file := meant[-1]) is None:
                meant.append(file := _File())
            match operation.kind:
                case "sync":
                    file.sync(began)
                case "failed sync":
                    file.fail_to_sync(began)
                case "write" | "truncate":
                    file.writes[number] = operation
    left = {}
    for name, meant in names.items():
        which = {"lost": 0, "kept": -1}.get(fortune)
        file = random.choice(meant) if which is None else meant[which]
        if file is not None:
            left[name] = file.after_cut(fortune, random)
    return left


def _apply(content: bytearray, operation: Operation, fill: Callable[[int], bytes] = bytes) -> None:
    missing = operation.offset - len(content)
    if missing > 0:
        content += fill(missing)
    if operation.kind == "truncate":
        del content[operation.offset :]
    else:
        content[operation.offset : operation.offset + len(operation.data)] = operation.data


def _sectors(operation: Operation, size: int) -> Iterator[Operation]:
    if operation.kind == "truncate":
        yield operation
    done = 0
    while done < len(operation.data):
        start = operation.offset + done
        data = operation.data[done : done + size - start % size]
        yield Operation("write", operation.path, start, data)
        done += len(data)
