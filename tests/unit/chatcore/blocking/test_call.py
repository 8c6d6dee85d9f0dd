"""A call that begins late, twice or never lets its thread go."""

import asyncio

import pytest

from chatcore.blocking.call import Call
from tests.support.threads import SECONDS, in_thread


async def answer() -> str:
    return "answer"


def prepared() -> Call[str]:
    return Call(asyncio.get_running_loop(), answer, endless=False)


async def waited_for(call: Call[str]) -> str:
    await asyncio.wait_for(asyncio.wrap_future(in_thread(call.wait)), SECONDS)
    return call.result()


async def test_a_call_begins_once() -> None:
    call = prepared()
    assert call.begin(may_begin=True)
    assert call.begin(may_begin=True) is None
    assert await waited_for(call) == "answer"
    assert call.begin(may_begin=True) is None
    assert await waited_for(call) == "answer"


async def test_a_call_cancelled_before_it_begins_ends() -> None:
    call = prepared()
    call.cancel()
    for _ in range(2):
        assert call.begin(may_begin=True) is None
    with pytest.raises(asyncio.CancelledError):
        await waited_for(call)


async def test_a_call_that_may_not_begin_ends() -> None:
    call = prepared()
    assert call.begin(may_begin=False) is None
    with pytest.raises(asyncio.CancelledError):
        await waited_for(call)
