"""A BoundStore: chatcore within a transaction of a host."""

from collections.abc import Awaitable, Callable, Sequence

from chatcore.errors import Refused, SelfChat
from chatcore.model import Chat, NewMessage, Sent
from chatcore_sqlalchemy.group_commit import Append
from chatcore_sqlalchemy.postgres.batch import LOCK, append_and_hold
from chatcore_sqlalchemy.postgres.host_transaction import (
    HostConnection,
    HostConnections,
    HostTransaction,
)
from chatcore_sqlalchemy.postgres.statement import apply, run
from chatcore_sqlalchemy.queries import chats, messages, pairs


class PostgresBoundStore:
    """The store within the transaction of one connection of a host. `digest_secret` returns the
    secret of `NewMessage.digest`."""

    def __init__(
        self,
        host: HostConnection,
        connections: HostConnections,
        schema: str,
        digest_secret: Callable[[], Awaitable[bytes]],
    ) -> None:
        self._host = host
        self._connections = connections
        self._schema = schema
        self._digest_secret = digest_secret
        self._written: HostTransaction | None = None

    async def open_chat(self, user_id: int, peer_id: int, opened_us: int) -> Chat:
        if user_id == peer_id:
            raise SelfChat
        lo, hi = min(user_id, peer_id), max(user_id, peer_id)
        async with self._connections.step(self._host) as (driver, transaction):
            transaction.expect_order((), (lo, hi))
            chat = await apply(
                self._schema, lambda run: pairs.open_chat(run, lo, hi, opened_us), driver
            )
        transaction.hold([chat.id], [lo, hi])
        self._written = transaction
        return chat

    async def chat_with(self, user_id: int, peer: str) -> Chat | None:
        async with self._connections.step(self._host) as (driver, _):
            rows = await run(
                driver, self._schema, chats.CHAT_WITH, {"user_id": user_id, "peer": peer}
            )
        return chats.first_chat(rows)

    async def append_messages(self, new: Sequence[NewMessage]) -> Sequence[Sent]:
        secret = await self._digest_secret()
        batch = [Append(each, each.digest(secret)) for each in new]
        sent: list[Sent] = []
        async with self._connections.step(self._host) as (driver, transaction):
            transaction.expect_order(each.chat_id for each in new)
            outcomes, locks = await append_and_hold(driver, self._schema, batch, LOCK)
            for outcome in outcomes:
                if isinstance(outcome, Refused):
                    raise outcome
                assert isinstance(outcome, Sent)  # noqa: S101 (LOCK leaves out none)
                sent.append(outcome)
        transaction.hold(*locks)
        self._written = transaction
        return sent

    async def replay_of(self, new: NewMessage) -> Sent | None:
        if new.idempotency_key is None:
            return None
        values = {
            "chat_id": new.chat_id,
            "user_id": new.sender_id,
            "key": new.idempotency_key,
        }
        async with self._connections.step(self._host) as (driver, _):
            rows = await run(driver, self._schema, messages.MESSAGE_BY_KEY, values)
        return messages.replay_of(new, new.digest(await self._digest_secret()), rows)

    def after_commit(self, call: Callable[[], None]) -> None:
        if self._written is None:
            raise RuntimeError("nothing was written")
        self._written.after_commit(call)
