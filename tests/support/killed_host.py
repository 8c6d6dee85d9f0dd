"""A host that writes orders and their messages until it is killed: `python killed_host.py URL HOW`.

`HOW` is where it dies: `sent` stops between send and commit, `rings` dies when it would ring, and
`trades` goes on for ever. Each line of its output is an order that was committed, or `sent`.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from chatcore import Messenger
from chatcore_sqlalchemy import SqlAlchemyStore


class Dying:
    """A Doorbell whose process dies when it rings."""

    def ring(self, user_ids: Iterable[int]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def listen(self, user_id: int, wake: Callable[[], None]) -> Callable[[], None]:
        raise NotImplementedError


async def main(url: str, how: str) -> None:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1))
    async with await SqlAlchemyStore.open(url) as store:
        messenger = Messenger(store, doorbell=Dying() if how == "rings" else None)
        ann, bob = await messenger.find_user("ann"), await messenger.find_user("bob")
        chat = await messenger.chat_with(ann, "bob")
        while True:
            async with engine.begin() as connection:
                order = await connection.scalar(
                    text("INSERT INTO orders DEFAULT VALUES RETURNING id")
                )
                sender = ann if order % 2 else bob
                await messenger.within(connection).send(sender, chat, f"{order}")
                if how == "sent":
                    sys.stdout.write("sent\n")
                    sys.stdout.flush()
                    await asyncio.Event().wait()
            sys.stdout.write(f"{order}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
