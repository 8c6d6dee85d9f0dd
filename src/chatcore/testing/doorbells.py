"""What a Doorbell promises. Rings are hints that may be lost, so a check rings again until it
is heard."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable

from chatcore.model import MAX_INT64
from chatcore.ports import Doorbell
from chatcore.testing.expect import accepted, expect, expect_equal, patience

RINGS_APART = 0.05
"""Seconds after which a ring that was not heard is repeated."""

USER_IDS = (1, 2, MAX_INT64)


class Ear:
    """Someone who listens, and counts what is heard."""

    def __init__(self, doorbell: Doorbell, user_id: int) -> None:
        self.heard = 0
        self.woken = asyncio.Event()
        self.leave = doorbell.listen(user_id, self._wake)

    def _wake(self) -> None:
        self.heard += 1
        self.woken.set()


async def ring_for(ears: Iterable[Ear], doorbell: Doorbell, *user_ids: int) -> None:
    """Ring, again and again, until all of them hear one ring."""
    ears = tuple(ears)
    async with patience(f"a ring for {user_ids}, who listen"):
        heard = False
        while not heard:
            for ear in ears:
                ear.woken.clear()
            doorbell.ring(user_ids)
            try:
                async with asyncio.timeout(RINGS_APART):
                    for ear in ears:
                        await ear.woken.wait()
                    heard = True
            except TimeoutError:
                continue


async def a_ring_wakes_who_listens(here: Doorbell, there: Doorbell) -> None:
    """A ring calls `wake` of who listens for the user, and so does every later one."""
    ear = Ear(here, 7)
    for _ in range(3):
        await ring_for([ear], there, 7)
    ear.leave()


async def a_ring_wakes_everyone_it_is_for(here: Doorbell, there: Doorbell) -> None:
    """One ring calls everyone who listens for one of its users, however many they are."""
    ears = [Ear(here, user_id) for user_id in (*USER_IDS, *USER_IDS)]
    await ring_for(ears, there, *USER_IDS)
    for ear in ears:
        ear.leave()


async def a_ring_wakes_nobody_else(here: Doorbell, there: Doorbell) -> None:
    """Who listens for another user is not woken."""
    ear, other = Ear(here, 1), Ear(here, 11)
    # A doorbell may wake everyone when it has found its connection. The other is not rung for:
    # a slow ring is repeated, and its late copy would count.
    await ring_for([ear], there, 1)
    before = other.heard
    for _ in range(10):
        await ring_for([ear], there, 1)
    expect_equal(other.heard, before, "a ring wakes nobody else")
    ear.leave()
    other.leave()


async def who_left_is_not_woken(here: Doorbell, there: Doorbell) -> None:
    """After the function that `listen` returned was called, `wake` is not, though others who
    listen for the same user are; who comes back is woken again."""
    stays, *others = (Ear(here, 7) for _ in range(4))
    await ring_for([stays, *others], there, 7)
    while others:
        leaver = others.pop(len(others) // 2)
        leaver.leave()
        before = leaver.heard
        await ring_for([stays, *others], there, 7)
        expect_equal(leaver.heard, before, "who left is not woken")
    stays.leave()
    again = Ear(here, 7)
    await ring_for([again], there, 7)
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
    with accepted("a ring at which someone leaves"):
        for _ in range(3):
            await ring_for([before, after], there, 7)
    expect_equal(heard[heard.index("goes") :], ["goes"], "who left is not woken")
    before.leave()
    after.leave()


async def ringing_raises_nothing(here: Doorbell, there: Doorbell) -> None:
    """ring returns and raises nothing, whoever it is for, and whether anyone listens."""
    ear = Ear(here, 7)
    rings: tuple[Iterable[int], ...] = ((), (0,), (-1,), USER_IDS, iter((8, 8)), range(9, 5009))
    for user_ids in rings:
        with accepted(f"a ring for {user_ids!r}"):
            there.ring(user_ids)
    await ring_for([ear], there, 7)
    ear.leave()
    with accepted("a ring for who left"):
        there.ring([7])


async def wake_is_called_on_the_event_loop(here: Doorbell, there: Doorbell) -> None:
    """`wake` is called on the event loop of its listener, and on no other thread."""
    loop, thread = asyncio.get_running_loop(), threading.get_ident()
    right: list[bool] = []

    def wake() -> None:
        # Elsewhere there is no event loop to ask for.
        here_too = threading.get_ident() == thread
        right.append(here_too and asyncio.get_running_loop() is loop)

    leave, ear = here.listen(7, wake), Ear(here, 7)
    async with patience("a ring for who listens"):
        while not right:
            await ring_for([ear], there, 7)
    expect(all(right), "wake is called on the event loop of its listener")
    leave()
    ear.leave()


DoorbellCheck = Callable[[Doorbell, Doorbell], Awaitable[None]]
"""Takes a doorbell to listen at and one to ring."""

DOORBELL_CHECKS: tuple[DoorbellCheck, ...] = (
    a_ring_wakes_who_listens,
    a_ring_wakes_everyone_it_is_for,
    a_ring_wakes_nobody_else,
    who_left_is_not_woken,
    one_may_leave_while_woken,
    ringing_raises_nothing,
    wake_is_called_on_the_event_loop,
)
