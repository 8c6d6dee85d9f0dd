"""A doorbell for one process: the hint that a user's event log has grown."""

from collections.abc import Callable, Iterable


class LocalDoorbell:
    """A Doorbell within one event loop."""

    def __init__(self) -> None:
        self._listeners: dict[int, dict[object, Callable[[], None]]] = {}

    def ring(self, user_ids: Iterable[int]) -> None:
        for user_id in user_ids:
            listeners = self._listeners.get(user_id, {})
            # A callback may unsubscribe itself or other listeners.
            for key in tuple(listeners):
                if wake := listeners.get(key):
                    wake()

    def listen(self, user_id: int, wake: Callable[[], None]) -> Callable[[], None]:
        listeners = self._listeners.setdefault(user_id, {})
        key = object()
        listeners[key] = wake

        def unsubscribe() -> None:
            del listeners[key]
            if not listeners and self._listeners.get(user_id) is listeners:
                del self._listeners[user_id]

        return unsubscribe

    def users(self) -> list[int]:
        """The ids of users that have listeners."""
        return list(self._listeners)
