"""A hint that a user's log has grown."""

from collections.abc import Callable, Iterable


class LocalDoorbell:
    """A Doorbell within one event loop."""

    def __init__(self) -> None:
        self._listeners: dict[int, dict[object, Callable[[], None]]] = {}

    def ring(self, user_ids: Iterable[int]) -> None:
        for user_id in user_ids:
            listeners = self._listeners.get(user_id, {})
            # Whoever is called may leave, or make others leave.
            for place in tuple(listeners):
                if wake := listeners.get(place):
                    wake()

    def listen(self, user_id: int, wake: Callable[[], None]) -> Callable[[], None]:
        listeners = self._listeners.setdefault(user_id, {})
        place = object()
        listeners[place] = wake

        def leave() -> None:
            del listeners[place]
            if not listeners and self._listeners.get(user_id) is listeners:
                del self._listeners[user_id]

        return leave

    def users(self) -> list[int]:
        """For whom somebody listens."""
        return list(self._listeners)
