"""A hint that a user's log has grown."""

from collections.abc import Callable, Iterable


class LocalDoorbell:
    """A Doorbell within one event loop."""

    def __init__(self) -> None:
        self._listeners: dict[int, list[Callable[[], None]]] = {}

    def ring(self, user_ids: Iterable[int]) -> None:
        for user_id in user_ids:
            # A copy: a listener may leave while it is called.
            for wake in tuple(self._listeners.get(user_id, ())):
                wake()

    def listen(self, user_id: int, wake: Callable[[], None]) -> Callable[[], None]:
        listeners = self._listeners.setdefault(user_id, [])
        listeners.append(wake)

        def leave() -> None:
            listeners.remove(wake)
            if not listeners and self._listeners.get(user_id) is listeners:
                del self._listeners[user_id]

        return leave
