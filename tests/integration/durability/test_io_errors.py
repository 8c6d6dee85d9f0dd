"""The disk fails at any operation: no answer is false, and the store recovers with the disk."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore
from tests.integration.durability.contents import find_wrong
from tests.integration.durability.faults import Faults
from tests.integration.durability.load import Load
from tests.integration.durability.vfs import layered
from tests.support.checker import Ledger
from tests.support.figures import Figures
from tests.support.soak import long

pytestmark = [pytest.mark.usefixtures("reachable_sqlite"), long]

SPARSE = 24
"""`make test` fails one operation in this many; `make soak`, every one."""

Failing = Callable[[int], bool]


def never(_: int) -> bool:
    return False


def between(first: int, last: int) -> Failing:
    return lambda number: first <= number <= last


def randomly(probability: float, seed: int) -> Failing:
    random = Random(seed)
    return lambda _: random.random() < probability


class Survived(NamedTuple):
    faults: Faults
    load: Load
    wrong: list[object]


async def survive(folder: Path, failing: Failing) -> Survived:
    """Write while the disk fails, continue once it works, and return all faults."""
    url, path = f"sqlite:///{folder}.db", Path(f"{folder}.db")
    faults, load = Faults(failing), Load()
    with layered(faults.layer):
        async with await SqlAlchemyStore.open(url) as store:
            chats = await load.open_chats(store, 2)
            faults.armed = True
            await load.talk(store, chats, 6)
            faults.armed = False
            outages = load.outages
            await load.talk(store, chats, 1)
            wrong: list[object] = [*await load.missing(store)]
            if load.outages > outages:
                wrong.append("unavailable although the disk works")
            faults.armed = True
        # Closing meets the errors, too.
    return Survived(faults, load, wrong + find_wrong(path, load.ledger.sends))


def judge(runs: Sequence[Survived], title: str, figures: Figures) -> None:
    assert [(run.faults.injected, run.wrong) for run in runs if run.wrong] == []
    assert any(run.load.outages for run in runs)
    sends = [send for run in runs for send in run.load.ledger.sends]
    figures.survived(sum(len(run.faults.injected) for run in runs), title, Ledger(sends))


async def test_store_survives_an_error_at_any_single_operation(
    tmp_path: Path, soak: bool, figures: Figures
) -> None:
    operations = (await survive(tmp_path / "none", never)).faults.count
    step = 1 if soak else SPARSE
    judge(
        [
            await survive(tmp_path / f"{number}", between(number, number))
            for number in range(1, operations + 1, step)
        ],
        f"I/O errors, one each at 1 in {step} of {operations} operations",
        figures,
    )


async def test_store_survives_a_temporary_loss_of_the_disk(
    tmp_path: Path, soak: bool, figures: Figures
) -> None:
    judge(
        [
            await survive(tmp_path / f"{first}-{length}", between(first, first + length))
            for first in range(1, 60, 2 if soak else 20)
            for length in (10, 100)
        ],
        "I/O errors, 10 and 100 in a row",
        figures,
    )


async def test_store_survives_errors_at_random_operations(
    tmp_path: Path, soak: bool, figures: Figures
) -> None:
    judge(
        [
            await survive(tmp_path / f"{every}-{seed}", randomly(1 / every, seed))
            for seed in range(20 if soak else 1)
            for every in (2, 5, 10, 20, 50)
        ],
        "I/O errors, at one operation in 2, 5, 10, 20 and 50",
        figures,
    )


@pytest.mark.parametrize("existing", [False, True], ids=["new database", "existing database"])
async def test_store_survives_an_error_while_opening(
    existing: bool, tmp_path: Path, soak: bool
) -> None:
    template, refusals = Load(), 0
    if existing:
        async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path / 'template.db'}") as store:
            await template.talk(store, await template.open_chats(store, 1), 2)
    for number in range(1, 1000, 1 if soak else SPARSE):
        load, path = template.as_of(template.ledger.moment), tmp_path / f"{number}.db"
        if existing:
            shutil.copyfile(tmp_path / "template.db", path)
        faults = Faults(between(number, number), armed=True)
        with layered(faults.layer):
            try:
                await (await SqlAlchemyStore.open(f"sqlite:///{path}")).close()
            except CannotOpen:
                refusals += 1
        async with await SqlAlchemyStore.open(f"sqlite:///{path}") as store:
            assert await load.missing(store) == []
            await load.talk(store, load.chats() or await load.open_chats(store, 1), 1)
        assert find_wrong(path, load.ledger.sends) == []
        if not faults.injected:
            break
    assert refusals
