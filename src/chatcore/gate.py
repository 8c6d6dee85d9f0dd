"""Asks the host's policy before a chat is opened or a message is numbered."""

import asyncio
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, Self

from chatcore.errors import PolicyRefused, PolicyUnavailable
from chatcore.model import Chat, NewMessage, Sent, User
from chatcore.policy import Actor, Allow, Draft, Refuse, Rewrite
from chatcore.ports import BoundStore, ChatStore, Policy

POLICY_SECONDS = 1.0


class Gate:
    """Lets openings and sends pass as the policy answers.

    Each answer must come within `seconds`. Every method raises PolicyRefused, and
    PolicyUnavailable if the policy fails, is late or gives an answer that it may not give.
    """

    def __init__(self, policy: Policy, store: ChatStore | BoundStore, seconds: float) -> None:
        self._policy = policy
        self._store = store
        self._seconds = seconds
        # The event loop itself holds only weak references to tasks.
        self._late: set[asyncio.Task[object]] = set()

    def on(self, store: BoundStore) -> Self:
        """Return the same gate, but for looking up replays in this store."""
        gate = copy(self)
        gate._store = store
        return gate

    async def may_open(self, user: User, peer: User, actor: Actor) -> None:
        """Return if the policy allows the chat."""
        answer = await self._ask(partial(self._policy.may_open, user, peer, actor))
        match answer:
            case Allow():
                return
            case Refuse(code):
                raise PolicyRefused(code)
            case _:
                raise PolicyUnavailable(f"may_open answered {type(answer).__name__}")

    async def may_send(
        self, new: NewMessage, sender: User, chat: Chat, actor: Actor
    ) -> NewMessage | Sent:
        """Return the message to store, or the replay of an earlier one, for which the policy is not
        asked. Also raises KeyReused, and InvalidText for a text that the policy wrote."""
        if replay := await self._replay_of(new):
            return replay
        draft = Draft(sender, chat, new.text, actor, new.idempotency_key)
        answer = await self._ask(partial(self._policy.may_send, draft))
        match answer:
            case Allow():
                return new
            case Rewrite(str(text)):
                return replace(new, text=text, submitted=new.text)
            case Refuse(code):
                # The same send, made twice at once, may have been stored since.
                if replay := await self._replay_of(new):
                    return replay
                raise PolicyRefused(code)
            case _:
                raise PolicyUnavailable(f"may_send answered {type(answer).__name__}")

    async def _replay_of(self, new: NewMessage) -> Sent | None:
        return None if new.idempotency_key is None else await self._store.replay_of(new)

    async def _ask(self, ask: Callable[[], Awaitable[object]]) -> object:
        # A task of its own, because a policy may be slow to end after its cancellation.
        task = asyncio.create_task(_answer(ask))
        try:
            await asyncio.wait([task], timeout=self._seconds)
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        if not task.done():
            self._abandon(task)
            raise PolicyUnavailable(f"the policy took longer than {self._seconds:g} s")
        try:
            return task.result()
        except (Exception, asyncio.CancelledError) as error:
            raise PolicyUnavailable("the policy failed") from error

    def _abandon(self, task: "asyncio.Task[object]") -> None:
        self._late.add(task)
        task.add_done_callback(self._ended)
        task.cancel()

    def _ended(self, task: "asyncio.Task[object]") -> None:
        self._late.discard(task)
        if not task.cancelled():
            # Retrieved, or the event loop reports it as forgotten.
            task.exception()


async def _answer(ask: Callable[[], Awaitable[Any]]) -> object:
    return await ask()
