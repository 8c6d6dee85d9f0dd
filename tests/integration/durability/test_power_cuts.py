"""Power cuts at any moment: every acknowledged write survives."""

import contextlib
import functools
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from chatcore import StoreUnavailable
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore
from tests.integration.durability.contents import find_wrong
from tests.integration.durability.faults import Faults
from tests.integration.durability.load import Load
from tests.integration.durability.power import FORTUNES, Recording, after_cut
from tests.integration.durability.vfs import layered
from tests.support.figures import Figures
from tests.support.soak import long

pytestmark = [pytest.mark.usefixtures("reachable_sqlite"), long]

NAME = "chatcore.db"


class Life(NamedTuple):
    """From one start of the store to its end or to a power cut."""

    load: Load
    recording: Recording

    def cut(self, at: int, fortune: str, random: Random) -> tuple[Load, dict[str, bytes]]:
        """What the callers know at that moment, and what the disk may hold."""
        files = after_cut(self.recording, at, fortune, random)
        return self.load.as_of(self.recording.moment(at)), files


async def first_life(folder: Path, failing_syncs: float = 0) -> Life:
    load, random = Load(), Random(1)
    recording = Recording(lambda: load.ledger.moment)
    faults = Faults(lambda _: random.random() < failing_syncs, kinds={"sync"})
    with layered(
        lambda operation, proceed: recording.layer(
            operation, lambda: faults.layer(operation, proceed)
        )
    ):
        # Opened twice: the first opening creates a database, the second finds it.
        for _ in range(2):
            async with await SqlAlchemyStore.open(f"sqlite:///{folder / NAME}") as store:
                chats = await load.open_chats(store, 4)
                faults.armed = True
                await load.talk(store, chats, 30)
                faults.armed = False
    return Life(load, recording)


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        folder.joinpath(name).write_bytes(content)


async def next_life(folder: Path, load: Load, files: dict[str, bytes]) -> tuple[Life, list[object]]:
    """Continue writing, and return all faults afterwards."""
    put(folder, files)
    recording = Recording(lambda: load.ledger.moment, files)
    wrong: list[object] = []
    try:
        with layered(recording.layer):
            async with await SqlAlchemyStore.open(f"sqlite:///{folder / NAME}") as store:
                wrong += await load.missing(store)
                if not wrong:
                    await load.talk(store, load.chats()[:2], 2)
        wrong += find_wrong(folder / NAME, load.ledger.sends)
    except (CannotOpen, StoreUnavailable, sqlite3.DatabaseError) as error:
        wrong.append(error)
    return Life(load, recording), wrong


async def cut_twice(life: Life, folder: Path, at: int, fortune: str) -> list[object]:
    """The faults after a power cut, and after another one in the following life."""
    random = Random(at)
    life, wrong = await next_life(folder / "second", *life.cut(at, fortune, random))
    if not wrong:
        at = random.randrange(len(life.recording.events) + 1)
        _, wrong = await next_life(folder / "third", *life.cut(at, fortune, random))
    return wrong


async def cut_often(life: Life, folder: Path, cuts: int) -> list[tuple[int, str, list[object]]]:
    """The harmful cuts."""
    random, harm = Random(cuts), []
    for number in range(cuts):
        # Every second cut comes right after an answer, which must be true already.
        moments = life.recording.answers() if number % 2 else range(len(life.recording.events) + 1)
        at, fortune = random.choice(moments), FORTUNES[number // 2 % len(FORTUNES)]
        if wrong := await cut_twice(life, folder / "cuts" / str(number), at, fortune):
            harm.append((at, fortune, wrong))
    return harm


@contextlib.contextmanager
def pragma(setting: str) -> Iterator[None]:
    """Set on every writing connection, after the settings of the store."""
    connect = sqlite3.connect

    class Configured(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql.startswith("BEGIN"):
                super().execute(f"PRAGMA {setting}")
            return super().execute(sql, *parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", functools.partial(connect, factory=Configured))
        yield


# The WAL is checkpointed every few commits, so a short run sees as many checkpoints as a long one.
@pytest.mark.parametrize(("checkpoint", "failing_syncs"), [(1000, 0), (20, 0), (20, 0.1)], ids=str)
async def test_acknowledged_writes_survive_power_cuts(
    checkpoint: int, failing_syncs: float, tmp_path: Path, soak: bool, figures: Figures
) -> None:
    with pragma(f"wal_autocheckpoint = {checkpoint}"):
        life = await first_life(tmp_path, failing_syncs)
    cuts = 75 if soak else 8
    harm = await cut_often(life, tmp_path, cuts)
    assert harm == []
    title = f"power cuts, checkpoints of {checkpoint} pages, {failing_syncs:.0%} of syncs failing"
    figures.survived(2 * cuts, title, life.load.ledger)


@pytest.mark.parametrize("mode", ["NORMAL", "OFF"])
async def test_weaker_synchronisation_is_detected(
    mode: str, tmp_path: Path, soak: bool, figures: Figures
) -> None:
    with pragma(f"synchronous = {mode}"):
        life = await first_life(tmp_path)
    cuts = 150 if soak else 8
    harm = await cut_often(life, tmp_path, cuts)
    figures.note(f"{cuts} power cuts, synchronous = {mode} instead of FULL: {len(harm)} did harm")
    # Unsynced writes may survive, and do in a quarter of the cuts; few cuts prove no share.
    assert len(harm) > (cuts / 3 if soak else 0)
