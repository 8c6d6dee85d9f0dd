"""A database whose primary fails, or seems to, and whose standby takes over."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from chatcore_sqlalchemy import migrate
from tests.integration.failover.witness import Findings, Witness
from tests.support.api import api_at
from tests.support.figures import Figures
from tests.support.service import CommandService, Service
from tests.support.soak import SOAK, long
from tests.support.standby import Address, Pair, address_of, primary_and_standby

pytestmark = [
    long,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc, which Linux has"),
]

SECRET = "a secret that both of the services share"
SENDERS = 16 if SOAK else 4
SENDS = 600 if SOAK else 20
"""How many are acknowledged before the fault, and how many after the recovery."""
BEHIND = 60 if SOAK else 5
"""How many the asynchronous standby does not receive."""
PAUSE = 0.1
LIMIT_SECONDS = 180
"""Much longer than a recovery takes: its duration is printed, not judged."""
SHORT = {("crash", True), ("return", False)}


@dataclass
class Faults:
    """What happens to the primary. The standby is promoted at once: how long a failover manager
    takes to notice is not chatcore's."""

    pair: Pair
    address: Address

    def crash(self) -> None:
        self.pair.primary.kill()
        self.pair.standby.promote()

    def freeze(self) -> None:
        self.pair.primary.freeze()
        self.pair.standby.promote()

    def move(self) -> None:
        self.pair.standby.promote()
        self.address.target = self.pair.standby

    def come_back(self, fault: str, database: str) -> None:
        """What becomes of the old primary once the services use the new one: nobody fences it."""
        if fault == "freeze":
            self.pair.primary.thaw()
        if fault == "return":
            self.pair.primary.start()
            # All connect again, and the old primary stands first in their URL.
            self.pair.standby.kill_backends(database)


@asynccontextmanager
async def services(folder: Path, url: str) -> AsyncIterator[list[Service]]:
    # In the long run as users start it, with the limits that it has for them.
    kind = CommandService if SOAK else Service
    made = [kind(folder / f"service-{n}", database_url=url, secret=SECRET) for n in range(2)]
    async with AsyncExitStack() as stack:
        for service in made:
            service.folder.mkdir(exist_ok=True)
            await asyncio.to_thread(service.start)
            stack.callback(service.kill)
        yield made


async def fail_over(folder: Path, fault: str, *, synchronous: bool) -> Findings:
    with primary_and_standby(synchronous=synchronous) as pair:
        async with address_of(pair.primary) as address:
            database = pair.primary.new_database()
            await migrate(pair.primary.url(database))
            url = address.url(database) if fault == "move" else pair.url(database)
            async with services(folder, url) as (one, other), AsyncExitStack() as stack:
                apis = [await stack.enter_async_context(api_at(it.url)) for it in (one, other)]
                witness = await Witness.gather(
                    pair.primary.url(database), apis, SECRET, SENDERS, PAUSE
                )
                async with witness.under_way():
                    await witness.sends(SENDS, LIMIT_SECONDS)
                    if not synchronous:
                        await asyncio.to_thread(pair.standby.fall_behind)
                        await witness.sends(BEHIND, LIMIT_SECONDS)
                        # So that followers must take it back.
                        await witness.all_show(LIMIT_SECONDS)
                    await apply(Faults(pair, address), fault, witness, database)
                    await witness.stop(LIMIT_SECONDS)
                    return await witness.judge(pair.standby, database, LIMIT_SECONDS)


async def apply(faults: Faults, fault: str, witness: Witness, database: str) -> None:
    witness.fault_at = time.monotonic()
    await asyncio.to_thread(faults.crash if fault == "return" else getattr(faults, fault))
    witness.promoted_at = time.monotonic()
    if await witness.has_moved(faults.pair.standby, database, LIMIT_SECONDS):
        await asyncio.to_thread(faults.come_back, fault, database)
        await witness.sends(SENDS, LIMIT_SECONDS)


@pytest.mark.parametrize("synchronous", [True, False], ids=["synchronous", "asynchronous"])
@pytest.mark.parametrize("fault", ["crash", "freeze", "move", "return"])
async def test_promises_hold_when_a_standby_takes_over(
    fault: str, synchronous: bool, tmp_path: Path, soak: bool, figures: Figures
) -> None:
    if not soak and (fault, synchronous) not in SHORT:
        pytest.skip("with CHATCORE_SOAK=1; the short form has one fault of each kind of standby")
    found = await fail_over(tmp_path, fault, synchronous=synchronous)
    figures.note(row(fault, found, synchronous=synchronous))
    if synchronous:
        figures.faults += 1
        figures.acknowledged += found.acknowledged
    assert found.pause < math.inf
    assert found.unknown == 0
    assert found.wrong == []
    assert (found.doubled, found.reordered, found.gaps, found.torn) == (0, 0, 0, 0)
    assert (found.missed, found.ghosts, found.jumps) == (0, 0, 0)
    assert (found.stale, found.ghost_pages) == (0, 0)
    if synchronous:
        assert (found.lost, found.given_again) == (0, 0)
    else:
        # Else nothing was to be noticed.
        assert found.lost > 0
        assert found.resets > 0


def row(fault: str, found: Findings, *, synchronous: bool) -> str:
    """A row of the table in docs/failover.md."""
    counts = (
        found.acknowledged,
        found.lost,
        found.doubled,
        found.reordered,
        found.gaps,
        found.torn,
        found.given_again,
        found.missed,
        found.ghosts + found.stale + found.ghost_pages,
        found.resets,
    )
    standby = "synchronous" if synchronous else "asynchronous"
    pause = f"{found.pause:.1f} s" if found.pause < math.inf else "never"
    return f"| {fault}, {standby} | {' | '.join(f'{count:,}' for count in counts)} | {pause} |"
