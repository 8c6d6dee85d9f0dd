"""The service is killed repeatedly while all users write."""

import asyncio
from pathlib import Path
from random import Random

from tests.integration.durability.contents import find_wrong, read_histories
from tests.integration.durability.crowd import Crowd
from tests.support.api import api_at
from tests.support.figures import Figures
from tests.support.service import QuickService, Service
from tests.support.soak import long


@long
async def test_kill_9_under_16_senders_loses_nothing(
    tmp_path: Path, soak: bool, figures: Figures
) -> None:
    kills = 20 if soak else 2
    random = Random(kills)
    service = QuickService(tmp_path)
    crowd = await Crowd.gather(service, 8, random)
    with service:
        async with api_at(service.url) as crowd.api:
            for _ in range(kills):
                await kill_while_writing(service, crowd, random)
                await asyncio.to_thread(service.start)
                assert find_wrong(service.database_path, crowd.ledger.sends) == []
                assert await crowd.histories() == read_histories(service.database_path)
    assert crowd.statuses[503] == 0
    figures.survived(kills, "kills under 16 senders", crowd.ledger)


async def kill_while_writing(service: Service, crowd: Crowd, random: Random) -> None:
    """Kill it at some instant after some hundred answers."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(crowd.talk(stop))
        await crowd.answers(201, random.randrange(50, 400))
        await asyncio.sleep(random.random() / 50)
        service.kill()
        stop.set()
