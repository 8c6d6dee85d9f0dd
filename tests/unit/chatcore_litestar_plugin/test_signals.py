"""Signals that stop the server end the streams, and do what they did before."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from chatcore_litestar_plugin.signals import on_stop_signals


@pytest.fixture
def received() -> Iterator[list[int]]:
    """The signals that a server's own handler has received."""
    found: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: found.append(number))
    yield found
    signal.signal(signal.SIGTERM, before)


async def test_both_the_reaction_and_the_handler_of_the_server_are_called(
    received: list[int],
) -> None:
    reacted = asyncio.Event()
    servers_own = signal.getsignal(signal.SIGTERM)
    with on_stop_signals(reacted.set):
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(60):
            await reacted.wait()
    assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is servers_own
    reacted.clear()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)
    assert received == [signal.SIGTERM] * 2
    assert not reacted.is_set()


async def test_handlers_of_the_event_loop_are_called_as_well() -> None:
    handled, reacted = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, handled.set)
    try:
        with on_stop_signals(reacted.set):
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(60):
                await reacted.wait()
                await handled.wait()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_a_handler_installed_later_stays(received: list[int]) -> None:
    with on_stop_signals(lambda: None):
        signal.signal(signal.SIGTERM, later := lambda *_: None)
    assert signal.getsignal(signal.SIGTERM) is later


async def test_a_signal_without_a_handler_is_left_alone() -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with on_stop_signals(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_other_threads_install_nothing(received: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def enter() -> None:
        with on_stop_signals(lambda: None):
            assert signal.getsignal(signal.SIGTERM) is before

    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(enter())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert errors == []
