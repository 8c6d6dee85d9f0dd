"""The port of a store that can write within a transaction of the host."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from chatcore.model import Chat, NewMessage, Sent


class BoundStore(Protocol):
    """A store within a transaction of the host, which ends it.

    What a method writes becomes durable and visible to others with the host's commit, and vanishes
    with its rollback, also one to a savepoint. Every read sees the transaction's own writes.

    Every method is one step: after an exception nothing of it remains, and the transaction goes on
    as before. Raises StoreUnavailable, in bounded time, if other transactions hold what it needs.
    Until its end the transaction holds the chats that it wrote to or opened, and their users; so
    that two transactions never wait for each other, a call that needs another one in a wrong order
    raises RuntimeError.
    """

    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        """Open a chat, as `Conversations.open_chat` promises."""
        ...

    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        """Return the chat of this user and the user with the key `peer`, or None."""
        ...

    async def append_messages(self, messages: Sequence[NewMessage]) -> Sequence[Sent]:
        """Append all messages or none, each as `Conversations.append_message` promises. Returns
        the outcomes in the same order. Raises the first refusal."""
        ...

    async def replay_of(self, new: NewMessage) -> Sent | None:
        """Find a replay, as `Conversations.replay_of` promises."""
        ...

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call `call` on the event loop soon after the transaction has committed what was written
        so far, and not at all if that is rolled back. `call` returns at once and raises nothing.
        """
        ...


@runtime_checkable
class HostTransactions(Protocol):
    """A store in the host's own database, which can write within the host's transactions."""

    def bound(self, connection: Any, /) -> BoundStore:
        """Return the store within the transaction of this connection, the present one at each
        call. Raises TypeError for a connection that cannot serve, or if the store cannot do that at
        all."""
        ...
