"""Doorbells that break one promise each, with the check that catches it."""

import threading
from collections.abc import Callable, Iterable

from chatcore import LocalDoorbell
from chatcore.testing import DoorbellCheck, doorbells

Wake = Callable[[], None]


class RingsOnce(LocalDoorbell):
    def ring(self, user_ids: Iterable[int]) -> None:
        for user_id in user_ids:
            super().ring([user_id])
            self._listeners.pop(user_id, None)


class RingsForOneUser(LocalDoorbell):
    def ring(self, user_ids: Iterable[int]) -> None:
        super().ring(list(user_ids)[:1])


class KeepsTheNewestListener(LocalDoorbell):
    def listen(self, user_id: int, wake: Wake) -> Wake:
        self._listeners.pop(user_id, None)
        return super().listen(user_id, wake)


class WakesEveryone(LocalDoorbell):
    def ring(self, user_ids: Iterable[int]) -> None:
        if list(user_ids):
            super().ring(tuple(self._listeners))


class RingsForPrefixes(LocalDoorbell):
    def ring(self, user_ids: Iterable[int]) -> None:
        for user_id in user_ids:
            super().ring([it for it in self._listeners if str(it).startswith(str(user_id))])


class NeverLeaves(LocalDoorbell):
    def listen(self, user_id: int, wake: Wake) -> Wake:
        super().listen(user_id, wake)
        return lambda: None


class MakesAllLeave(LocalDoorbell):
    def listen(self, user_id: int, wake: Wake) -> Wake:
        super().listen(user_id, wake)

        def leave() -> None:
            self._listeners.pop(user_id, None)

        return leave


class TripsOverLeavers(LocalDoorbell):
    def ring(self, user_ids: Iterable[int]) -> None:
        for user_id in user_ids:
            for wake in self._listeners.get(user_id, {}).values():
                wake()


class RingsForLeavers(LocalDoorbell):
    def ring(self, user_ids: Iterable[int]) -> None:
        for user_id in user_ids:
            for wake in tuple(self._listeners.get(user_id, {}).values()):
                wake()


class RingsForListenersAlone(LocalDoorbell):
    def ring(self, user_ids: Iterable[int]) -> None:
        for user_id in user_ids:
            for wake in tuple(self._listeners[user_id].values()):
                wake()


class WakesOnAThread(LocalDoorbell):
    def ring(self, user_ids: Iterable[int]) -> None:
        thread = threading.Thread(target=super().ring, args=(tuple(user_ids),))
        thread.start()
        thread.join()


FAULTS: dict[type[LocalDoorbell], DoorbellCheck] = {
    RingsOnce: doorbells.a_ring_wakes_its_listener,
    RingsForOneUser: doorbells.a_ring_wakes_every_listener_of_its_users,
    KeepsTheNewestListener: doorbells.a_ring_wakes_every_listener_of_its_users,
    WakesEveryone: doorbells.a_ring_wakes_no_other_user,
    RingsForPrefixes: doorbells.a_ring_wakes_no_other_user,
    NeverLeaves: doorbells.an_unsubscribed_listener_is_not_woken,
    MakesAllLeave: doorbells.an_unsubscribed_listener_is_not_woken,
    TripsOverLeavers: doorbells.a_callback_may_unsubscribe,
    RingsForLeavers: doorbells.a_callback_may_unsubscribe,
    RingsForListenersAlone: doorbells.ringing_raises_nothing,
    WakesOnAThread: doorbells.wake_is_called_on_the_event_loop,
}
