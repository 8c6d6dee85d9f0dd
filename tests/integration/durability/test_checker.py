"""The checker finds each planted fault and reports nothing else."""

import pytest

from tests.support.checker import Fate, Fault, Ledger, Stored, find_faults

ONE, TWO, MAYBE, REFUSED = (Stored(0, "ann", text) for text in ("one", "two", "maybe", "refused"))


def ledger() -> Ledger:
    """one and two, acknowledged one after the other; then a refusal and an unknown."""
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
def test_sound_store_has_no_faults(stored: tuple[Stored, ...]) -> None:
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
def test_planted_fault_is_found(stored: tuple[Stored, ...], fault: tuple[str, str]) -> None:
    kind, text = fault
    assert found(*stored) == [Fault(kind, "chat", text)]


def test_gap_is_found() -> None:
    assert found(ONE._replace(seq=1), TWO._replace(seq=3), numbered=False) == [
        Fault("gap", "chat", "two")
    ]


def test_number_other_than_the_acknowledged_one_is_found() -> None:
    record = Ledger()
    record.acknowledge(record.begin("chat", "ann", "one"), seq=2)
    stored = {"chat": [Stored(1, "ann", "one")]}
    assert find_faults(record.sends, stored) == [Fault("misnumbered", "chat", "one")]


def test_message_in_an_unknown_chat_is_found() -> None:
    stored = {"other": [Stored(1, "ann", "one")]}
    assert [fault.kind for fault in find_faults(Ledger().sends, stored)] == ["foreign"]


def test_overlapping_sends_may_be_stored_in_any_order() -> None:
    record = Ledger()
    first, second = record.begin("chat", "ann", "one"), record.begin("chat", "bob", "two")
    record.acknowledge(first)
    record.acknowledge(second)
    stored = {"chat": [Stored(1, "bob", "two"), Stored(2, "ann", "one")]}
    assert find_faults(record.sends, stored) == []
    assert record.count(Fate.ACKNOWLEDGED) == 2
