"""Calls through the bridge: threads, errors, interrupts and closing."""

import asyncio
import contextvars
import gc
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

import chatcore
from chatcore import (
    Chat,
    InvalidText,
    StoreUnavailable,
    User,
    UserName,
    WrongCredentials,
)
from chatcore.blocking import Bridge, Messenger, thread
from chatcore_memory import InsecureTestHasher, InsecureTestTokens, MemoryStore
from tests.support.following import WatchedStore
from tests.support.threads import SECONDS, Held, in_thread, interrupted_when, wait_until


class Resource:
    """Something that a bridge opens. It records the order of closing."""

    closed: list[str]

    def __init__(self, name: str, closed: list[str], error: Exception | None = None) -> None:
        self.name = name
        self.closed = closed
        self.error = error

    async def close(self) -> None:
        # The other threads get a turn.
        await asyncio.sleep(0.01)
        self.closed.append(self.name)
        if self.error:
            raise self.error


async def opened(name: str, closed: list[str], error: Exception | None = None) -> Resource:
    return Resource(name, closed, error)


def bridge_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "chatcore-blocking"]


def test_chat_works_from_synchronous_code(bridge: Bridge) -> None:
    store = MemoryStore()
    accounts = bridge.accounts(store, InsecureTestHasher(), InsecureTestTokens(b"secret"))
    messenger = bridge.messenger(store)
    ann = accounts.register("ann", "correct horse battery")
    bob = accounts.register("bob", "staple of batteries")
    chat = messenger.open_chat(ann, bob)
    for n in range(1100):
        messenger.send(ann, chat, f"{n}")
    assert accounts.authenticate(accounts.log_in("bob", "staple of batteries")).user == bob
    assert [message.text for message in messenger.page(bob, chat, limit=2).messages] == [
        "1098",
        "1099",
    ]
    pieces = [len(piece) for piece in messenger.history(bob, chat)]
    assert pieces == [500, 500, 100]
    assert messenger.mark_read(bob, chat, 7) == 7
    assert messenger.state(bob, chat.id).unread == 1093


def test_calls_from_many_threads_run_at_once(
    messenger: Messenger, ann: User, bob: User, chat: Chat
) -> None:
    together = threading.Barrier(16)

    def send(n: int) -> list[int]:
        together.wait(SECONDS)
        sender = (ann, bob)[n % 2]
        return [messenger.send(sender, chat, f"{n}").seq for _ in range(20)]

    sending = [in_thread(partial(send, n)) for n in range(16)]
    seqs = [future.result(SECONDS) for future in sending]
    assert all(part == sorted(part) for part in seqs)
    assert sorted(seq for part in seqs for seq in part) == [*range(1, 321)]


def test_a_waiting_call_delays_no_other(bridge: Bridge, messenger: Messenger, ann: User) -> None:
    held = Held()
    waiting = in_thread(lambda: bridge.call(held))
    assert held.began.wait(SECONDS)
    assert messenger.find_user("ann") == ann
    held.let_go()
    assert waiting.result(SECONDS) == "done"


def test_errors_keep_their_class_arguments_and_traceback(
    bridge: Bridge, messenger: Messenger, ann: User, chat: Chat
) -> None:
    accounts = bridge.accounts(MemoryStore(), InsecureTestHasher(), InsecureTestTokens(b"secret"))
    with pytest.raises(WrongCredentials):
        accounts.log_in("ann", "no such user")
    with pytest.raises(InvalidText, match="more than white space") as raised:
        messenger.send(ann, chat, "  ")
    frames = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    here = "test_errors_keep_their_class_arguments_and_traceback"
    assert frames[0] == here
    assert frames[-3:] == ["__init__", "__post_init__", "_check_text"]


def fail_a_call(bridge: Bridge) -> None:
    async def fail() -> None:
        raise StoreUnavailable

    bridge.call(fail)


def fail_an_iteration(bridge: Bridge) -> None:
    store = WatchedStore()
    store.failures = 1
    next(bridge.messenger(store).follow(User(1, "ann", "ann")))


@pytest.mark.parametrize("fail", [fail_a_call, fail_an_iteration])
def test_a_raised_error_keeps_no_bridge_open(fail: Callable[[Bridge], None]) -> None:
    # Garbage that only the collector finds would close an abandoned bridge late.
    gc.disable()
    try:
        abandoned = Bridge()
        serving = abandoned._loop.thread
        with pytest.raises(StoreUnavailable):
            fail(abandoned)
        del abandoned
        serving.join(SECONDS)
        assert not serving.is_alive()
    finally:
        gc.enable()


def test_calls_see_the_context_of_the_caller(bridge: Bridge) -> None:
    request = contextvars.ContextVar[str]("request")

    async def read() -> str:
        return request.get()

    def handle(name: str) -> str:
        request.set(name)
        return bridge.call(read)

    handled = [in_thread(partial(handle, f"{n}")) for n in range(3)]
    assert [future.result(SECONDS) for future in handled] == ["0", "1", "2"]


async def test_a_call_inside_an_event_loop_is_refused(bridge: Bridge, store: WatchedStore) -> None:
    messenger = Messenger(bridge, chatcore.Messenger(store))
    with pytest.raises(RuntimeError, match=r"the event loop that runs in this thread: use"):
        messenger.find_user("ann")
    with pytest.raises(RuntimeError, match="event loop that runs in this thread"):
        bridge.close()
    added = await asyncio.to_thread(bridge.call, store.add_user, UserName("carl"), "", 0)
    assert added.name == "carl"


def test_a_call_on_the_loop_itself_is_refused(bridge: Bridge, store: WatchedStore) -> None:
    async def reenter() -> None:
        bridge.call(store.user_by_id, 1)

    with pytest.raises(RuntimeError, match="event loop that runs in this thread"):
        bridge.call(reenter)


def test_closing_closes_the_last_opened_first() -> None:
    closed: list[str] = []
    with Bridge() as bridge:
        for name in ("store", "doorbell"):
            assert bridge.open(opened, name, closed).name == name
    assert closed == ["doorbell", "store"]
    bridge.close()
    assert closed == ["doorbell", "store"]
    assert not bridge._loop.thread.is_alive()


def test_close_raises_what_closing_raises_and_closes_the_rest() -> None:
    closed: list[str] = []
    bridge = Bridge()
    bridge.open(opened, "store", closed)
    bridge.open(opened, "doorbell", closed, OSError("stuck"))
    with pytest.raises(OSError, match="stuck"):
        bridge.close()
    assert closed == ["doorbell", "store"]


def test_an_error_of_opening_is_raised_and_leaves_the_bridge_usable() -> None:
    async def fail() -> Resource:
        raise OSError("no such file")

    with Bridge() as bridge:
        with pytest.raises(OSError, match="no such file"):
            bridge.open(fail)
        assert bridge.open(opened, "store", []).name == "store"


def test_a_closed_bridge_refuses_every_call(
    bridge: Bridge, messenger: Messenger, ann: User, chat: Chat
) -> None:
    pieces = messenger.history(ann, chat)
    bridge.close()
    for call in (
        lambda: messenger.find_user("ann"),
        lambda: messenger.follow(ann),
        lambda: messenger.forget_names(),
        lambda: next(pieces),
        lambda: bridge.messenger(MemoryStore()),
        lambda: bridge.open(opened, "store", []),
    ):
        with pytest.raises(RuntimeError, match="this bridge is closed"):
            call()


def test_calls_in_progress_finish_before_the_store_is_closed() -> None:
    bridge, held, closed = Bridge(), Held(), list[str]()
    bridge.open(opened, "store", closed)
    waiting = in_thread(lambda: bridge.call(held))
    assert held.began.wait(SECONDS)
    closing = in_thread(bridge.close)
    wait_until(lambda: bridge._loop.closed)
    with pytest.raises(RuntimeError, match="this bridge is closed"):
        bridge.call(held)
    assert closed == []
    held.let_go()
    assert waiting.result(SECONDS) == "done"
    closing.result(SECONDS)
    assert closed == ["store"]


def test_a_call_that_outlasts_closing_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "FINISH_SECONDS", 0)
    bridge, held = Bridge(), Held()
    waiting = in_thread(lambda: bridge.call(held))
    assert held.began.wait(SECONDS)
    bridge.close()
    with pytest.raises(RuntimeError, match="this bridge is closed"):
        waiting.result(SECONDS)
    assert held.cancelled.is_set()


def test_closing_that_takes_too_long_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "CLOSE_SECONDS", 0)

    class Stuck:
        async def close(self) -> None:
            await asyncio.Event().wait()

    async def open_stuck() -> Stuck:
        return Stuck()

    bridge = Bridge()
    bridge.open(open_stuck)
    with pytest.raises(TimeoutError):
        bridge.close()


def test_a_call_that_ends_the_loop_hangs_no_other(bridge: Bridge) -> None:
    held = Held()
    waiting = in_thread(lambda: bridge.call(held))
    assert held.began.wait(SECONDS)

    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        bridge.call(leave)
    with pytest.raises(RuntimeError, match="this bridge is closed"):
        waiting.result(SECONDS)
    with pytest.raises(SystemExit):
        bridge.close()
    bridge._loop.failure = None  # For the fixture, which closes it once more.


def test_an_abandoned_bridge_is_closed_before_the_next_one_opens(
    messenger: Messenger,
) -> None:
    before = len(bridge_threads())
    closed: list[str] = []
    for n in range(20):
        reloaded = Bridge()
        assert len(closed) == n
        reloaded.open(opened, "store", closed)
        kept = reloaded.messenger(MemoryStore())
        del reloaded
        assert len(bridge_threads()) == before + 1, "an object of the bridge keeps it open"
        del kept
    Bridge().close()
    assert closed == ["store"] * 20
    assert len(bridge_threads()) == before


def test_an_abandoned_bridge_reports_what_closing_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_value))
    error = OSError("the disk is full")
    bridge = Bridge()
    bridge.open(opened, "store", [], error)
    serving = bridge._loop.thread
    del bridge
    serving.join(SECONDS)
    assert reported == [error]


def test_an_iteration_left_early_releases_its_generator(
    bridge: Bridge, messenger: Messenger, ann: User, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    @asynccontextmanager
    async def watched() -> AsyncIterator[None]:
        try:
            yield
        finally:
            released.set()

    async def pieces(*_: object) -> AsyncIterator[str]:
        async with watched():
            yield "first"
            yield "second"

    monkeypatch.setattr(messenger._core, "history", pieces)
    for piece in messenger.history(ann, chat):
        assert piece
        break
    assert released.wait(SECONDS)


def test_an_interrupt_cancels_the_call(bridge: Bridge, messenger: Messenger, ann: User) -> None:
    held = Held()
    with interrupted_when(held.began.is_set), pytest.raises(KeyboardInterrupt):
        bridge.call(held)
    assert held.cancelled.wait(SECONDS)
    assert messenger.find_user("ann") == ann
