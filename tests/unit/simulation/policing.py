"""The host's policy: allows, rewrites and refuses by the text, and sometimes fails or is late."""

import asyncio

from chatcore import Actor, Allow, Draft, Refuse, Rewrite, User
from tests.unit.simulation.world import World

RUDE, BANNED = "rude", "banned"
"""The words that the policy replaces, and refuses."""

REFUSAL = "simulated_refusal"


def allowed(text: str) -> str | None:
    """Return the text that the policy lets pass; None if it refuses."""
    return None if BANNED in text else text.replace(RUDE, "****")


class FaultyPolicy:
    """A policy that is slow, late and unreliable, and is never asked about a replay."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._fails = world.rng.choice((0.0, 0.05, 0.3))

    async def may_open(self, user: User, peer: User, actor: Actor) -> Allow | Refuse:
        await self._think()
        return Allow()

    async def may_send(self, draft: Draft) -> Allow | Rewrite | Refuse:
        world = self._world
        world.note("policy", repr(draft.text))
        since = min(world.attempts.get(draft.text, ()), default=world.loop.time())
        stored = world.stored_at.get(allowed(draft.text) or "")
        replayed = draft.idempotency_key is not None and stored is not None and stored < since
        world.check(not replayed, "the policy was asked about the replay of", repr(draft.text))
        await self._think()
        text = allowed(draft.text)
        if text is None:
            return Refuse(REFUSAL)
        return Allow() if text == draft.text else Rewrite(text)

    async def _think(self) -> None:
        world = self._world
        if world.chance(self._fails):
            world.count("policies failed")
            raise ConnectionError
        if not world.chance(0.3):
            return
        seconds = world.rng.choice((0.1, 0.5, 0.9, 1.5, 5))
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            world.count("policies cancelled")
            if world.rng.random() < 0.5:
                raise
            # Slow to end, and its answer comes too late.
            await asyncio.sleep(seconds)
