"""The promises of a Doorbell. Rings are hints that may be lost, so a check rings until every
listener has heard a ring."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable

from chatcore.model import MAX_INT64
from chatcore.ports import Doorbell
from chatcore.testing.expect import accepted, check, expect, expect_equal, patience

RINGS_APART = 0.05
"""Seconds after which a ring that no listener heard is repeated."""

USER_IDS = (1, 2, MAX_INT64)


class Ear:
    """A listener that counts the rings it hears."""

    def __init__(self, doorbell: Doorbell, user_id: int) -> None:
        self.heard = 0
        self.woken = asyncio.Event()
        self.unsubscribe = doorbell.listen(user_id, self._wake)

    def _wake(self) -> None:
        self.heard += 1
        self.woken.set()


async def ring_for(ears: Iterable[Ear], doorbell: Doorbell, *user_ids: int) -> None:
    """Ring repeatedly until all listeners have heard one ring."""
    ears = tuple(ears)
    async with patience(f"waking the listeners of {user_ids} by ring"):
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


@check
async def a_ring_wakes_its_listener(here: Doorbell, there: Doorbell) -> None:
    """Every ring calls `wake` of the user's listener."""
    ear = Ear(here, 7)
    for _ in range(3):
        await ring_for([ear], there, 7)
    ear.unsubscribe()


@check
async def a_ring_wakes_every_listener_of_its_users(here: Doorbell, there: Doorbell) -> None:
    """One ring wakes every listener of every user that it names."""
    ears = [Ear(here, user_id) for user_id in (*USER_IDS, *USER_IDS)]
    await ring_for(ears, there, *USER_IDS)
    for ear in ears:
        ear.unsubscribe()


@check
async def a_ring_wakes_no_other_user(here: Doorbell, there: Doorbell) -> None:
    """A ring does not wake a listener of another user."""
    ear, other = Ear(here, 1), Ear(here, 11)
    # A doorbell may wake every listener when it connects. No ring names the other user: a slow ring
    # is repeated, and its late copy would count.
    await ring_for([ear], there, 1)
    before = other.heard
    for _ in range(10):
        await ring_for([ear], there, 1)
    expect_equal(other.heard, before, "ring wakes no listener of another user")
    ear.unsubscribe()
    other.unsubscribe()


@check
async def an_unsubscribed_listener_is_not_woken(here: Doorbell, there: Doorbell) -> None:
    """After the function that `listen` returned was called, `wake` is not called, but other
    listeners of the user are; a new call of `listen` is woken again."""
    stays, *others = (Ear(here, 7) for _ in range(4))
    await ring_for([stays, *others], there, 7)
    while others:
        former = others.pop(len(others) // 2)
        former.unsubscribe()
        before = former.heard
        await ring_for([stays, *others], there, 7)
        expect_equal(former.heard, before, "ring wakes no unsubscribed listener")
    stays.unsubscribe()
    again = Ear(here, 7)
    await ring_for([again], there, 7)
    again.unsubscribe()


@check
async def a_callback_may_unsubscribe(here: Doorbell, there: Doorbell) -> None:
    """A callback may unsubscribe itself and other listeners. The same ring still wakes the
    remaining listeners, and no unsubscribed one."""
    heard: list[str] = []
    unsubscribes: list[Callable[[], None]] = []

    def unsubscribe_both() -> None:
        heard.append("unsubscribes")
        while unsubscribes:
            unsubscribes.pop()()

    before = Ear(here, 7)
    unsubscribes.append(here.listen(7, unsubscribe_both))
    unsubscribes.append(here.listen(7, lambda: heard.append("unsubscribed")))
    after = Ear(here, 7)
    with accepted("ring with a callback that unsubscribes"):
        for _ in range(3):
            await ring_for([before, after], there, 7)
    later = heard[heard.index("unsubscribes") :]
    expect_equal(later, ["unsubscribes"], "ring wakes no unsubscribed listener")
    before.unsubscribe()
    after.unsubscribe()


@check
async def ringing_raises_nothing(here: Doorbell, there: Doorbell) -> None:
    """ring returns and raises nothing, for any ids, with and without listeners."""
    ear = Ear(here, 7)
    rings: tuple[Iterable[int], ...] = ((), (0,), (-1,), USER_IDS, iter((8, 8)), range(9, 5009))
    for user_ids in rings:
        with accepted(f"ring for {user_ids!r}"):
            there.ring(user_ids)
    await ring_for([ear], there, 7)
    ear.unsubscribe()
    with accepted("ring for a user without listeners"):
        there.ring([7])


@check
async def wake_is_called_on_the_event_loop(here: Doorbell, there: Doorbell) -> None:
    """`wake` is called on the event loop of `listen`, and on no other thread."""
    loop, thread = asyncio.get_running_loop(), threading.get_ident()
    right: list[bool] = []

    def wake() -> None:
        # Another thread has no running event loop to ask for.
        here_too = threading.get_ident() == thread
        right.append(here_too and asyncio.get_running_loop() is loop)

    unsubscribe, ear = here.listen(7, wake), Ear(here, 7)
    async with patience("waking a listener by ring"):
        while not right:
            await ring_for([ear], there, 7)
    expect(all(right), "wake is called on the event loop of listen")
    unsubscribe()
    ear.unsubscribe()


DoorbellCheck = Callable[[Doorbell, Doorbell], Awaitable[None]]
"""Takes a doorbell to listen on and one to ring."""

DOORBELL_CHECKS: tuple[DoorbellCheck, ...] = (
    a_ring_wakes_its_listener,
    a_ring_wakes_every_listener_of_its_users,
    a_ring_wakes_no_other_user,
    an_unsubscribed_listener_is_not_woken,
    a_callback_may_unsubscribe,
    ringing_raises_nothing,
    wake_is_called_on_the_event_loop,
)
