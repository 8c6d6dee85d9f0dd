"""Messengers that fail on demand, and outboxes that close their engines."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from sqlalchemy import Engine, Table
from sqlalchemy.ext.asyncio import AsyncEngine

from chatcore import Actor, Chat, Messenger, Sent, StoreUnavailable, User
from chatcore_sqlalchemy.outbox import Outbox
from chatcore_sqlalchemy.outbox.host import engine_of_host
from tests.support.host import OUTBOX, Host


class FlakyMessenger(Messenger):
    """Fails sends of the texts in `lost` before, and of those in `unknown` after they are
    stored."""

    lost: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    sends = 0

    async def send_once(
        self, sender: User, chat: Chat, text: str, key: str, *, actor: Actor = Actor.USER
    ) -> Sent:
        self.sends += 1
        if text in self.lost:
            raise StoreUnavailable("down")
        sent = await super().send_once(sender, chat, text, key, actor=actor)
        if text in self.unknown:
            raise StoreUnavailable("the write may or may not have happened")
        return sent


class Outboxes:
    """Makes outboxes on one host, each with an engine of its own."""

    def __init__(self, host: Host, engines: AsyncExitStack) -> None:
        self._host = host
        self._engines = engines

    def engine(self) -> Engine | AsyncEngine:
        engine = engine_of_host(self._host.url)
        if isinstance(engine, AsyncEngine):
            self._engines.push_async_callback(engine.dispose)
        else:
            self._engines.push_async_callback(asyncio.to_thread, engine.dispose)
        return engine

    def __call__(self, messenger: Messenger, table: Table = OUTBOX, **options: Any) -> Outbox:
        return Outbox(self.engine(), table, messenger, **options)
