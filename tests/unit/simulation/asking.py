"""How a client asks for its next events."""

import asyncio
from collections.abc import Sequence

from chatcore import Event, Following
from tests.unit.simulation.world import World


async def iterate(world: World, following: Following) -> Sequence[Event]:
    return [await anext(following)]


async def iterate_with_timeouts(world: World, following: Following) -> Sequence[Event]:
    try:
        async with asyncio.timeout(world.rng.uniform(0.5, 20)):
            return [await anext(following)]
    except TimeoutError:
        world.count("waits cancelled")
        return ()


async def poll(world: World, following: Following) -> Sequence[Event]:
    return await following.batch(world.rng.uniform(0, 20))
