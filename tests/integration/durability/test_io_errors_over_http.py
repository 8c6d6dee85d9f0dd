"""The disk under the running service fails."""

import asyncio
from random import Random

from tests.integration.durability.contents import find_wrong, read_histories
from tests.integration.durability.crowd import Crowd
from tests.support.api import api_at, fresh
from tests.support.figures import Figures
from tests.support.service import Service
from tests.support.soak import long

RATES = (0.02, 0.1, 0.5, 1)
FEWER_RATES = (0.1, 1)


@long
async def test_failing_disk_is_a_503_until_it_works_again(
    observed_service: Service, soak: bool, figures: Figures
) -> None:
    switch = observed_service.folder / "error-rate"
    crowd = await Crowd.gather(observed_service, 4, Random(1))
    with observed_service as service:
        async with api_at(service.url) as crowd.api:
            for rate in RATES * 10 if soak else FEWER_RATES:
                switch.write_text(str(rate))
                await crowd.talk_until(503, 50)
                assert await other_answers(crowd) <= {200, 201, 503}
                switch.unlink()
                failures = crowd.statuses[503]
                await crowd.talk_until(201, 50)
                assert crowd.statuses[503] == failures
                assert await other_answers(crowd) == {200, 201}
            assert find_wrong(service.database_path, crowd.ledger.sends) == []
            assert await crowd.histories() == read_histories(service.database_path)
    figures.survived(crowd.statuses[503], "answers of 503 on a failing disk", crowd.ledger)


async def other_answers(crowd: Crowd) -> set[int]:
    """The statuses of all requests other than sends."""
    api, seat = crowd.api, crowd.seats[0]
    answers = await asyncio.gather(
        api.register(fresh("new")),
        api.log_in(seat.me.name),
        api.read(seat.me, seat.peer),
        api.call("GET", "/chats", seat.me),
        api.call("GET", "/healthz"),
    )
    return {answer.status_code for answer in answers}
