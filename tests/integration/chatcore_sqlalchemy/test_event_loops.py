"""Objects of one event loop raise RuntimeError in another one, and never hang."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from chatcore import NewMessage, UserName
from chatcore.bus import BusDoorbell, Link
from chatcore.model import Chat, User
from chatcore_sqlalchemy import SqlAlchemyStore

SECONDS = 60

REFUSAL = "belongs to the event loop that"

Use = Callable[[SqlAlchemyStore, User, Chat], Awaitable[object]]

USES: dict[str, Use] = {
    "read": lambda store, ann, chat: store.user_by_id(ann.id),
    "read what is remembered": lambda store, ann, chat: store.messages_before(
        chat.id, None, limit=50
    ),
    "read the list": lambda store, ann, chat: store.chats_of(ann.id, before=None, limit=50),
    "send": lambda store, ann, chat: store.append_message(NewMessage(chat.id, ann.id, "hi", 0)),
    "look up a key": lambda store, ann, chat: store.replay_of(
        NewMessage(chat.id, ann.id, "hi", 0, "key")
    ),
    "register": lambda store, ann, chat: store.add_user(UserName("carl"), "", 0),
    "follow": lambda store, ann, chat: store.end_of_log(ann.id),
    "close": lambda store, ann, chat: store.close(),
}


async def opened(url: str) -> tuple[SqlAlchemyStore, User, Chat]:
    """A store that has been used, with a user and a chat."""
    store = await SqlAlchemyStore.open(url)
    ann, bob = [await store.add_user(UserName(name), "", 0) for name in ("ann", "bob")]
    chat = await store.open_chat(ann.id, bob.id, 0)
    await store.append_message(NewMessage(chat.id, ann.id, "hello", 0))
    await store.messages_before(chat.id, None, limit=50)
    await store.chats_of(ann.id, before=None, limit=50)
    return store, ann, chat


@contextmanager
def resting_loop() -> Iterator[Callable[[Any], Any]]:
    """An event loop that runs only the calls it is given."""
    with closing(asyncio.new_event_loop()) as loop:
        yield loop.run_until_complete


@contextmanager
def running_loop() -> Iterator[Callable[[Any], Any]]:
    """An event loop that runs all the time, in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.parametrize("own_loop", [resting_loop, running_loop])
def test_store_works_only_in_the_loop_that_opened_it(own_loop: Callable[[], Any], url: str) -> None:
    with own_loop() as run:
        store, ann, chat = run(opened(url))
        for use in USES.values():

            async def elsewhere(use: Use = use) -> None:
                async with asyncio.timeout(SECONDS):
                    with pytest.raises(RuntimeError, match=f"this store {REFUSAL}"):
                        await use(store, ann, chat)

            asyncio.run(elsewhere())
        # The store still works in its own loop.
        for use in USES.values():
            run(use(store, ann, chat))


def test_store_of_an_ended_loop_raises_runtime_error(tmp_path: Path) -> None:
    store = asyncio.run(SqlAlchemyStore.open(f"sqlite:///{tmp_path}/chatcore.db"))

    async def elsewhere() -> None:
        async with asyncio.timeout(SECONDS):
            for use in (store.close(), store.end_of_log(1)):
                with pytest.raises(RuntimeError, match=REFUSAL):
                    await use

    asyncio.run(elsewhere())


class Deaf:
    async def send(self, message: bytes) -> None:
        pass

    async def run(self) -> None:
        await asyncio.Event().wait()


@asynccontextmanager
async def connect(heard: Callable[[bytes], None]) -> AsyncIterator[Link]:
    yield Deaf()


@pytest.mark.parametrize("own_loop", [resting_loop, running_loop])
def test_bus_doorbell_works_only_in_the_loop_that_started_it(
    own_loop: Callable[[], Any],
) -> None:
    async def elsewhere() -> None:
        async with asyncio.timeout(SECONDS):
            with pytest.raises(RuntimeError, match=f"this doorbell {REFUSAL}"):
                doorbell.ring([1])
            with pytest.raises(RuntimeError, match=f"this doorbell {REFUSAL}"):
                doorbell.listen(1, lambda: None)
            with pytest.raises(RuntimeError, match=f"this doorbell {REFUSAL}"):
                await doorbell.close()

    with own_loop() as run:
        doorbell = BusDoorbell(connect, "a bus", patience=0.01)
        run(doorbell.start())
        asyncio.run(elsewhere())
        run(doorbell.close())
