"""Invalidation: one place that announces that a user changed.

`Accounts` announces a user whose password or name changed, or whose tokens became void, and each
device session that ended alone; `Messenger`, a host's user that was renamed or erased. Caches of
the same process subscribe: no caller has to know them. Another process hears nothing; there, an
entry of such a cache expires after a minute.

A store may lose what it had stored, as when a standby takes over that lacks the newest writes. It
announces that by a method `on_failover`, and then everything that was remembered is forgotten.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from weakref import WeakKeyDictionary, WeakMethod

from chatcore.errors import Overloaded, Refused

Subscriber = Callable[[int], None]
"""Takes the id of a user that changed. Returns at once and raises nothing."""

Forget = Callable[[], None]
"""Forgets what was read from the store. Returns at once and raises nothing."""

SessionSubscriber = Callable[[int, str], None]
"""Takes the id of a user and of a device session that ended. Returns at once and raises nothing."""


class Changes:
    """Announces changed users to subscribers, synchronously, on the event loop of the change."""

    def __init__(self) -> None:
        self._subscribers: dict[WeakMethod[Subscriber], bool] = {}
        self._of_sessions: dict[WeakMethod[SessionSubscriber], None] = {}
        self._of_failovers: dict[WeakMethod[Forget], None] = {}

    def subscribe(self, method: Subscriber, *, renames: bool = True) -> None:
        """Call a bound method for every user that changes from now on; without `renames`, not for
        one of whom nothing but the name changed.

        The subscription does not keep the method's object alive; it ends with the object.
        """
        self._subscribers[WeakMethod(method, self._forget)] = renames

    def subscribe_sessions(self, method: SessionSubscriber) -> None:
        """Call a bound method for every device session that ends from now on while its user does
        not change. The subscription ends with the object, as that of `subscribe` does."""
        self._of_sessions[WeakMethod(method, self._forget_sessions)] = None

    def subscribe_failovers(self, method: Forget) -> None:
        """Call a bound method whenever what the store returned before may not be there any more.
        The subscription ends with the object, as that of `subscribe` does."""
        self._of_failovers[WeakMethod(method, self._forget_failovers)] = None

    def _forget(self, reference: WeakMethod[Subscriber]) -> None:
        self._subscribers.pop(reference, None)

    def _forget_sessions(self, reference: WeakMethod[SessionSubscriber]) -> None:
        self._of_sessions.pop(reference, None)

    def _forget_failovers(self, reference: WeakMethod[Forget]) -> None:
        self._of_failovers.pop(reference, None)

    def announce(self, user_id: int, *, renamed: bool = False) -> None:
        """Call every subscriber, in no particular order. `renamed` says that nothing but the
        user's name changed."""
        for reference, renames in tuple(self._subscribers.items()):
            if (renames or not renamed) and (method := reference()) is not None:
                method(user_id)

    def announce_session(self, user_id: int, session_id: str) -> None:
        """Call every subscriber to sessions, in no particular order."""
        for reference in tuple(self._of_sessions):
            if (method := reference()) is not None:
                method(user_id, session_id)

    def announce_failover(self) -> None:
        """Call every subscriber to failovers, in no particular order."""
        for reference in tuple(self._of_failovers):
            if (method := reference()) is not None:
                method()

    @contextmanager
    def changing(self, user_id: int, session_id: str | None = None) -> Iterator[None]:
        """Announce the user, or the session that ends, after a write, also one of unknown outcome
        (StoreUnavailable, or a cancelled caller). A refused write changed nothing and is not
        announced."""
        try:
            yield
        except (Refused, Overloaded):
            raise
        except BaseException:
            self._announce(user_id, session_id)
            raise
        self._announce(user_id, session_id)

    def _announce(self, user_id: int, session_id: str | None) -> None:
        if session_id is None:
            self.announce(user_id)
        else:
            self.announce_session(user_id, session_id)


_by_store: WeakKeyDictionary[object, Changes] = WeakKeyDictionary()


def changes_of(store: object) -> Changes:
    """Return the one `Changes` of this store object, kept as long as the store lives. If the store
    has a method `on_failover`, it is given what to call.

    A store that cannot be weakly referenced or hashed gets a new one at each call: there, call
    `Messenger.forget_names` after an erasure.
    """
    changes = None
    with suppress(TypeError):
        changes = _by_store.get(store)
    if changes is None:
        changes = Changes()
        with suppress(TypeError):
            _by_store[store] = changes
        on_failover: Callable[[Forget], None] | None = getattr(store, "on_failover", None)
        if on_failover is not None:
            on_failover(changes.announce_failover)
    return changes
