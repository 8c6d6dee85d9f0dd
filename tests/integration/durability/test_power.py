"""The simulated power cut leaves every state that a disk may hold, and no other."""

import functools
from random import Random

import pytest

from tests.integration.durability.power import FORTUNES, Recording, after_cut
from tests.integration.durability.vfs import Operation

SYNC, SYNC_FOLDER = Operation("sync", "a"), Operation("sync folder", "a")
OLD, NEW = b"o" * 1024, b"n" * 1024


def write(data: bytes, offset: int = 0) -> Operation:
    return Operation("write", "a", offset, data)


def outcomes(*operations: Operation, initial: bytes | None = None) -> set[bytes | None]:
    """All contents of the file after a cut at the end; None where there is no file."""
    recording = Recording(lambda: 0, {} if initial is None else {"a": initial})
    for operation in operations:
        recording.layer(operation, lambda: 0)
    end = len(operations)
    return {
        after_cut(recording, end, fortune, Random(seed)).get("a")
        for fortune in FORTUNES
        for seed in range(100)
    }


def test_synced_writes_survive() -> None:
    assert outcomes(write(NEW), SYNC, SYNC_FOLDER) == {NEW}
    assert outcomes(write(NEW), SYNC, initial=OLD) == {NEW}


def test_unsynced_write_survives_wholly_in_sectors_or_not_at_all() -> None:
    half = b"n" * 512 + b"o" * 512
    assert outcomes(write(NEW), initial=OLD) == {OLD, NEW, half, half[::-1]}


def test_later_write_may_survive_without_an_earlier_one() -> None:
    one, two = write(b"1" * 512), write(b"2" * 512, offset=512)
    assert b"o" * 512 + b"2" * 512 in outcomes(one, two, initial=OLD)


def test_lost_sector_of_a_grown_file_may_hold_anything() -> None:
    found = outcomes(write(NEW), initial=b"")
    assert {b"", NEW, b"n" * 512, bytes(512) + b"n" * 512} < found
    assert any(content and content.strip(b"n\0") for content in found)


def test_truncation_may_be_undone() -> None:
    assert outcomes(Operation("truncate", "a", 512), initial=OLD) == {OLD, OLD[:512]}


def test_name_is_durable_once_its_folder_is_synced() -> None:
    assert None in outcomes(write(NEW), SYNC)
    assert outcomes(Operation("delete", "a"), initial=OLD) == {OLD, None}
    assert outcomes(Operation("delete", "a"), SYNC_FOLDER, initial=OLD) == {None}


def test_sync_covers_only_writes_before_its_start() -> None:
    recording = Recording(lambda: 0, {"a": OLD})

    def write_during_sync() -> int:
        return recording.layer(write(NEW), lambda: 0)

    recording.layer(SYNC, write_during_sync)
    assert after_cut(recording, 2, "lost", Random(0)) == {"a": OLD}


def test_failed_sync_discards_writes_for_later_syncs() -> None:
    recording = Recording(lambda: 0, {"a": OLD})
    for operation, code in [(write(NEW), 0), (SYNC, 1), (write(b"x"), 0), (SYNC, 0)]:
        recording.layer(operation, functools.partial(int, code))
    assert after_cut(recording, 4, "lost", Random(0)) == {"a": b"x" + OLD[1:]}
    assert after_cut(recording, 4, "kept", Random(0)) == {"a": b"x" + NEW[1:]}


@pytest.mark.parametrize("kind", ["sync", "sync folder"])
def test_failed_sync_makes_nothing_durable(kind: str) -> None:
    recording = Recording(lambda: 0)
    recording.layer(write(NEW), lambda: 0)
    recording.layer(Operation(kind, "a"), lambda: 1)
    assert after_cut(recording, len(recording.events), "lost", Random(0)) == {}
