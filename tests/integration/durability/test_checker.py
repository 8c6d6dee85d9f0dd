"""The checker finds what is wrong, and nothing else."""

import pytest

from tests.integration.durability.checker import Fate, Fault, Ledger, Stored, find_faults

ONE, TWO, MAYBE, REFUSED = (Stored(0, "ann", text) for text in ("one", "two", "maybe", "refused"))


def ledger() -> Ledger:
    """one and two acknowledged one after the other, then a refusal, then an unknown."""
    ledger = Ledger()
    for text in ("one", "two", "refused", "maybe"):
        send = ledger.begin("chat", "ann", text)
        if text == "refused":
            ledger.refuse(send)
        elif text != "maybe":
            ledger.acknowledge(send)
    return ledger


def found(*stored: Stored, numbered: bool = True) -> list[Fault]:
    messages = [
        message._replace(seq=seq) if numbered else message
        for seq, message in enumerate(stored, start=1)
    ]
    return find_faults(ledger().sends, {"chat": messages})


@pytest.mark.parametrize("stored", [(ONE, TWO), (ONE, TWO, MAYBE)])
def test_a_sound_store_has_no_faults(stored: tuple[Stored, ...]) -> None:
    assert found(*stored) == []


@pytest.mark.parametrize(
    ("stored", "fault"),
    [
        ((ONE,), ("lost", "two")),
        ((ONE, TWO, TWO), ("doubled", "two")),
        ((ONE, TWO, MAYBE, MAYBE), ("doubled", "maybe")),
        ((TWO, ONE), ("reordered", "two")),
        ((ONE, MAYBE, TWO), ("reordered", "maybe")),
        ((ONE, TWO, REFUSED), ("refused", "refused")),
        ((ONE, TWO, Stored(0, "ann", "never sent")), ("foreign", "never sent")),
        ((ONE, TWO._replace(sender="bob")), ("foreign", "two")),
    ],
)
def test_a_planted_fault_is_found(stored: tuple[Stored, ...], fault: tuple[str, str]) -> None:
    kind, text = fault
    assert found(*stored) == [Fault(kind, "chat", text)]


def test_a_gap_is_found() -> None:
    assert found(ONE._replace(seq=1), TWO._replace(seq=3), numbered=False) == [
        Fault("gap", "chat", "two")
    ]


def test_another_number_than_was_told_is_found() -> None:
    told = Ledger()
    told.acknowledge(told.begin("chat", "ann", "one"), seq=2)
    stored = {"chat": [Stored(1, "ann", "one")]}
    assert find_faults(told.sends, stored) == [Fault("misnumbered", "chat", "one")]


def test_a_message_in_a_chat_of_which_nobody_knows_is_found() -> None:
    stored = {"other": [Stored(1, "ann", "one")]}
    assert [fault.kind for fault in find_faults(Ledger().sends, stored)] == ["foreign"]


def test_sends_that_overlap_may_come_in_any_order() -> None:
    told = Ledger()
    first, second = told.begin("chat", "ann", "one"), told.begin("chat", "bob", "two")
    told.acknowledge(first)
    told.acknowledge(second)
    stored = {"chat": [Stored(1, "bob", "two"), Stored(2, "ann", "one")]}
    assert find_faults(told.sends, stored) == []
    assert told.count(Fate.ACKNOWLEDGED) == 2
