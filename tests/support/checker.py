"""Compares what a store holds with the answers that its callers got.

Every send has a unique text and one of three fates: acknowledged (the answer says that it is
stored), refused (the answer says that it is not) or unknown (its caller got no answer).
An acknowledged message is stored exactly once, a refused one never, an unknown one at most
once. Numbers are 1, 2, 3, … without gaps. A send that began after another was acknowledged
comes after it.
"""

import enum
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple


class Fate(enum.Enum):
    UNKNOWN = "unknown"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"


@dataclass(slots=True)
class Send:
    """One message that a user wants in a chat, with all its retries."""

    chat: Hashable
    sender: str
    text: str
    key: str | None
    began: int
    fate: Fate = Fate.UNKNOWN
    ended: int = 0
    seq: int | None = None
    """The number in the answer, if any."""


class Stored(NamedTuple):
    seq: int
    sender: str
    text: str


@dataclass
class Ledger:
    """All sends of a run, and the order in which they began and ended."""

    sends: list[Send] = field(default_factory=list)
    moment: int = 0
    """Increases with every start and end of a send."""

    def begin(self, chat: Hashable, sender: str, text: str, key: str | None = None) -> Send:
        send = Send(chat, sender, text, key, self._next())
        self.sends.append(send)
        return send

    def acknowledge(self, send: Send, seq: int | None = None) -> None:
        send.fate, send.seq, send.ended = Fate.ACKNOWLEDGED, seq, self._next()

    def refuse(self, send: Send) -> None:
        send.fate, send.ended = Fate.REFUSED, self._next()

    def count(self, fate: Fate) -> int:
        return sum(send.fate is fate for send in self.sends)

    def as_of(self, moment: int) -> list[Send]:
        """The sends as known at that moment: without later answers and later sends."""
        return [
            send if send.ended <= moment else replace(send, fate=Fate.UNKNOWN, seq=None)
            for send in self.sends
            if send.began <= moment
        ]

    def _next(self) -> int:
        self.moment += 1
        return self.moment


class Fault(NamedTuple):
    kind: str
    """lost, doubled, reordered, gap, misnumbered, refused, or foreign: stored without a send to
    this chat, or under another name."""
    chat: Hashable
    text: str


def find_faults(sends: Iterable[Send], stored: Mapping[Any, Sequence[Stored]]) -> list[Fault]:
    """All faults of `stored`, which lists the messages of each chat in ascending order."""
    by_chat: dict[Hashable, dict[str, Send]] = {chat: {} for chat in stored}
    for send in sends:
        by_chat.setdefault(send.chat, {})[send.text] = send
    return [
        Fault(kind, chat, text)
        for chat, expected in by_chat.items()
        for kind, text in _faults_of_chat(expected, stored.get(chat, ()))
    ]


def _faults_of_chat(
    expected: Mapping[str, Send], stored: Sequence[Stored]
) -> Iterable[tuple[str, str]]:
    count = Counter(message.text for message in stored)
    for text, send in expected.items():
        if send.fate is Fate.ACKNOWLEDGED and not count[text]:
            yield "lost", text
        if send.fate is Fate.REFUSED and count[text]:
            yield "refused", text
        if count[text] > 1:
            yield "doubled", text
    for seq, message in enumerate(stored, start=1):
        found = expected.get(message.text)
        if message.seq != seq:
            yield "gap", message.text
        if found is None or found.sender != message.sender:
            yield "foreign", message.text
        elif found.fate is Fate.ACKNOWLEDGED and found.seq not in {None, message.seq}:
            yield "misnumbered", message.text
    # From the end: a message acknowledged before this one began must not come after it.
    earliest_end: float = float("inf")
    for message in reversed(stored):
        found = expected.get(message.text)
        if found is None:
            continue
        if found.began > earliest_end:
            yield "reordered", message.text
        if found.fate is Fate.ACKNOWLEDGED:
            earliest_end = min(earliest_end, found.ended)
