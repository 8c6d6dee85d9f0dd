"""Hostile requests cause no 5xx, no crash and no growth of the service."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from tests.support.api import SOAK, Api
from tests.support.hostile import Hostile
from tests.support.raw import Answer, connected
from tests.support.service import Service, memory_of

COUNT = 30_000 if SOAK else 1_000
MOST = 20 * COUNT
EXPECTED = {200, 201, 400, 401, 404, 405, 431}
CONNECTIONS = 16
PATIENCE = 0.1
"""Seconds to wait for an answer: many of these requests are incomplete and get none."""
MAX_GROWTH = 64  # MiB


async def test_hostile_requests_cause_no_5xx_and_no_growth(
    service: Service, api: Api, record_property: Callable[[str, object], None]
) -> None:
    seed = random.SystemRandom().getrandbits(32)
    ann, bob = await api.chat()
    chat = f"/v1/chats/{(await api.ensure_chat(ann, bob.name)).json()['chat_id']}"
    hostile = Hostile(seed, ann, bob, chat)
    before, log_before = memory_of(service.process.pid), len(service.log())
    statuses: Counter[int | str] = Counter()

    async def send_some() -> None:
        # A slow machine answers fewer requests in time, so more are sent there.
        while (count := statuses.total()) < COUNT or (
            count < MOST and not statuses.keys() >= EXPECTED
        ):
            sent = hostile.next()
            answer = await answer_to(service.url, sent)
            statuses[answer.status if answer else "none"] += 1
            if answer and answer.status >= 500:
                assert answer.status == 503, (answer, sent)
                assert "retry-after" in answer.headers, (answer, sent)

    try:
        await asyncio.gather(*(send_some() for _ in range(CONNECTIONS)))
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise
    growth = memory_of(service.process.pid) - before
    summary = (
        f"{statuses.total()} hostile requests, seed {seed}: {dict(statuses)}, grew by {growth} MiB"
    )
    record_property("hostile", summary)
    print(summary)  # noqa: T201 (shown by pytest -rP)
    log = service.log()[log_before:]
    assert "ERROR" not in log, log
    assert "Traceback" not in log, log
    assert growth < MAX_GROWTH, summary
    # Some requests reached the routes.
    assert statuses.keys() >= EXPECTED, summary
    assert (await api.send(ann, bob.name, "still here")).status_code == 201
    assert (await api.read(bob, ann.name)).json()[-1]["message"] == "still here"


async def answer_to(url: str, sent: bytes) -> Answer | None:
    async with connected(url) as raw:
        try:
            await raw.send(sent)
            return await raw.answer(PATIENCE)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            return None
