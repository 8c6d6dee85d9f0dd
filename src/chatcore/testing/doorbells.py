"""What a Doorbell promises. Rings are hints that may be lost, so a check rings again until it
is heard."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable

from chatcore.ports import Doorbell
from chatcore.testing.expect import accepted, expect, expect_equal, patience

RINGS_APART = 0.05
"""Seconds after which a ring that was not heard is repeated."""


class Ear:
    """Someone who listens, and counts what is heard."""

    def __init__(self, doorbell: Doorbell, user_id: int) -> None:
        self.heard = 0
        self._woken = asyncio.Event()
        self.leave = doorbell.listen(user_id, self._wake)

    def _wake(self) -> None:
        self.heard += 1
        self._woken.set()

    async def hears(self, ring: Callable[[], None]) -> None:
        """Return when a ring is heard that came after this call."""
        self._woken.clear()
        async with patience("a ring for who listens"):
            while not self._woken.is_set():
                ring()
                try:
                    async with asyncio.timeout(RINGS_APART):
                        await self._woken.wait()
                except TimeoutError:
                    continue


async def a_ring_wakes_who_listens(here: Doorbell, there: Doorbell) -> None:
    """A ring calls `wake` of who listens for the user, and so does the next one."""
    ear = Ear(here, 7)
    for _ in range(3):
        await ear.hears(lambda: there.ring([7]))
    ear.leave()


async def a_ring_wakes_everyone_it_is_for(here: Doorbell, there: Doorbell) -> None:
    """One ring calls everyone who listens for one of its users, however many they are."""
    ears = [Ear(here, user_id) for user_id in (1, 2, 2, 2**63 - 1)]
    for ear in ears:
        await ear.hears(lambda: there.ring(iter((1, 2, 2**63 - 1))))
    rung = 0

    def ring() -> None:
        nonlocal rung
        rung += 1
        there.ring((1, 2, 2**63 - 1))

    before = [ear.heard for ear in ears]
    for ear, count in zip(ears, before, strict=True):
        if ear.heard == count:
            await ear.hears(ring)
    expect(rung < len(ears), "one ring is for all its users")
    for ear in ears:
        ear.leave()


async def a_ring_wakes_nobody_else(here: Doorbell, there: Doorbell) -> None:
    """Who listens for another user is not woken."""
    ear, other = Ear(here, 1), Ear(here, 11)
    # A doorbell may wake everyone once, when it has found its connection.
    await ear.hears(lambda: there.ring([1]))
    await other.hears(lambda: there.ring([11]))
    await ear.hears(lambda: there.ring([1]))
    before = other.heard
    for _ in range(10):
        await ear.hears(lambda: there.ring([1]))
    expect_equal(other.heard, before, "a ring wakes nobody else")
    ear.leave()
    other.leave()


async def who_left_is_not_woken(here: Doorbell, there: Doorbell) -> None:
    """After the function that `listen` returned was called, `wake` is not, though others who
    listen for the same user are; who comes back is woken again."""
    stays, *others = (Ear(here, 7) for _ in range(4))
    for ear in (stays, *others):
        await ear.hears(lambda: there.ring([7]))
    while others:
        leaver = others.pop(len(others) // 2)
        leaver.leave()
        before = leaver.heard
        for ear in (stays, *others):
            await ear.hears(lambda: there.ring([7]))
        expect_equal(leaver.heard, before, "who left is not woken")
    stays.leave()
    again = Ear(here, 7)
    await again.hears(lambda: there.ring([7]))
    again.leave()


async def one_may_leave_while_woken(here: Doorbell, there: Doorbell) -> None:
    """Who is woken may leave, and make others leave, then and there; the rest are woken all
    the same, and who left is not, not even by the ring at hand."""
    heard: list[str] = []
    leaves: list[Callable[[], None]] = []

    def go() -> None:
        heard.append("goes")
        while leaves:
            leaves.pop()()

    before = Ear(here, 7)
    leaves.append(here.listen(7, go))
    leaves.append(here.listen(7, lambda: heard.append("taken along")))
    after = Ear(here, 7)
    for ear in (before, after, before):
        with accepted("a ring at which someone leaves"):
            await ear.hears(lambda: there.ring([7]))
    expect_equal(heard[heard.index("goes") :], ["goes"], "who left is not woken")
    before.leave()
    after.leave()


async def ringing_raises_nothing(here: Doorbell, there: Doorbell) -> None:
    """ring returns and raises nothing, whoever it is for, and whether anyone listens."""
    ear = Ear(here, 7)
    rings: tuple[Iterable[int], ...] = ((), (0,), (-1,), (2**63 - 1,), (8, 8), range(1000, 6000))
    for user_ids in rings:
        for doorbell in (here, there):
            with accepted("a ring"):
                doorbell.ring(user_ids)
    await ear.hears(lambda: there.ring([7]))
    ear.leave()
    with accepted("a ring for who left"):
        there.ring([7])


async def wake_is_called_on_the_event_loop(here: Doorbell, there: Doorbell) -> None:
    """`wake` is called on the event loop of its listener, and ring does not wait for it to be
    answered."""
    loop, thread = asyncio.get_running_loop(), threading.get_ident()
    places: list[bool] = []
    ear = Ear(here, 7)

    def wake() -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            places.append(False)
        else:
            places.append(running is loop and threading.get_ident() == thread)

    leave = here.listen(7, wake)
    while not places:
        await ear.hears(lambda: there.ring([7]))
    expect(all(places), "wake is called on the event loop of its listener")
    leave()
    ear.leave()


DoorbellCheck = Callable[[Doorbell, Doorbell], Awaitable[None]]
"""Takes two doorbells of one store, as two of its processes have them, or the same one twice:
one to listen at, one to ring at."""

DOORBELL_CHECKS: tuple[DoorbellCheck, ...] = (
    a_ring_wakes_who_listens,
    a_ring_wakes_everyone_it_is_for,
    a_ring_wakes_nobody_else,
    who_left_is_not_woken,
    one_may_leave_while_woken,
    ringing_raises_nothing,
    wake_is_called_on_the_event_loop,
)
