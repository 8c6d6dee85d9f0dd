"""Stores do what their model does, through overlaps, cancellations and failures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from chatcore_memory import MemoryStore
from tests.integration.durability.backends import Backend, Memory, Remote, Sqlite
from tests.integration.durability.faults import Faults
from tests.integration.durability.machine import StoreMachine
from tests.integration.durability.vfs import layered
from tests.integration.durability.witness import Unexplained
from tests.integration.durability.wrong_stores import (
    WRONG_STORES,
    RacesForKeys,
    RacesForPairs,
)
from tests.support.figures import Figures
from tests.support.planted.people import GivesHandlesAgain, PutsOneByOne
from tests.support.soak import long

STEPS = 50
SLOW = {GivesHandlesAgain, PutsOneByOne, RacesForKeys, RacesForPairs}
"""Wrong stores that take long to find."""


def drive(backend: Callable[[], Backend], examples: int, **options: Any) -> type[StoreMachine]:
    """Run the machine on fresh stores; return the counter of its steps."""

    class Machine(StoreMachine):
        pass

    Machine.backend = staticmethod(backend)
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=STEPS,
                suppress_health_check=list(HealthCheck),
                **options,
            ),
        )
    except Flaky as flaky:
        # A replay may differ: threads, disks and cancellations are not deterministic. The failure
        # was real.
        assert Machine.failure is not None
        raise Machine.failure from flaky
    return Machine


def report(machine: type[StoreMachine], name: str, figures: Figures) -> None:
    figures.note(f"model test, {name}: {machine.steps:,} steps, {machine.calls:,} calls")


@long
@pytest.mark.parametrize("backend", [Memory, Remote])
def test_memory_store_does_what_the_model_does(
    backend: type[Memory | Remote], soak: bool, figures: Figures
) -> None:
    report(drive(backend, 200 if soak else 5), f"{backend.__name__}", figures)


@long
@pytest.mark.usefixtures("reachable_sqlite")
def test_sqlite_store_does_what_the_model_does(
    tmp_path: Path, soak: bool, figures: Figures
) -> None:
    faults = Faults(lambda _: False)
    with layered(faults.layer):
        machine = drive(lambda: Sqlite(tmp_path, faults), 200 if soak else 5)
    # The few short examples of the short run may draw none.
    assert faults.injected or not soak
    report(machine, f"SQLite with {len(faults.injected)} I/O errors", figures)


@pytest.mark.parametrize("wrong", WRONG_STORES)
def test_wrong_store_is_found(wrong: type[MemoryStore], soak: bool) -> None:
    if wrong in SLOW and not soak:
        pytest.skip("takes long to find: make soak")
    with pytest.raises(Unexplained):
        drive(lambda: Remote(wrong), 200, phases=[Phase.generate], derandomize=True, database=None)
