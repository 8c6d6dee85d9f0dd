"""The initial data of every measured service."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from chatcore import Messenger, NewMessage, UserName
from chatcore_argon2 import Argon2Hasher
from chatcore_jwt import JwtTokens
from chatcore_sqlalchemy import SqlAlchemyStore

SECRET = "the secret of a benchmark, 32 bytes and more"  # noqa: S105
PASSWORD = "correct horse battery"  # noqa: S105
TEXT = "Hello, how are you? I am fine, and the weather is too. Bye!"
SENDERS = 64


@dataclass(frozen=True)
class Data:
    """Users 1 to 64 are the senders, each with one chat. `reader` and `writer` share a chat of
    `archive` messages; `lister` has `listed` chats."""

    archive: int = 10_000
    listed: int = 20

    def names(self) -> Iterator[str]:
        """The users' names in the order of their ids, which start at 1."""
        yield from (f"sender{n}" for n in range(SENDERS))
        yield from (f"peer{n}" for n in range(SENDERS))
        yield from ("reader", "writer", "lister")

    def tokens(self) -> dict[str, str]:
        issuer = JwtTokens(SECRET)
        now = datetime.now(UTC)
        return {name: issuer.issue(n, now) for n, name in enumerate(self.names(), 1)}


async def fill(store: SqlAlchemyStore, data: Data) -> None:
    hasher = Argon2Hasher()
    password_hash = await hasher.hash(PASSWORD)
    messenger = Messenger(store)
    users = {name: await store.add_user(UserName(name), password_hash, 0) for name in data.names()}
    for n in range(SENDERS):
        await messenger.open_chat(users[f"sender{n}"], users[f"peer{n}"])
    for n in range(data.listed):
        await messenger.open_chat(users["lister"], users[f"peer{n}"])
    archive = await messenger.open_chat(users["reader"], users["writer"])
    writers = (users["reader"].id, users["writer"].id)
    for start in range(0, data.archive, 500):
        await asyncio.gather(
            *(
                store.append_message(NewMessage(archive.id, writers[n % 2], TEXT, n))
                for n in range(start, min(start + 500, data.archive))
            )
        )
    await hasher.close()
