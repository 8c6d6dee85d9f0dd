"""A rate limit: each user may send so many messages in a minute.

python examples/policy_rate.py
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from chatcore import Actor, Allow, Draft, Messenger, PolicyRefused, Refuse, User
from chatcore_memory import MemoryStore


class RateLimit:
    """Lets each user send `limit` messages in any `seconds`, as this process counts them. The host
    and imports may send any number.

    A replay does not count, since no policy is asked about it.
    """

    def __init__(
        self, limit: int, seconds: float = 60, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._sent: dict[int, deque[float]] = {}
        """The times of each user's newest messages."""

    async def may_open(self, user: User, peer: User, actor: Actor) -> Allow:
        return Allow()

    async def may_send(self, draft: Draft) -> Allow | Refuse:
        if draft.actor is not Actor.USER:
            return Allow()
        now = self._clock()
        times = self._sent.setdefault(draft.sender.id, deque(maxlen=self._limit))
        if len(times) == self._limit and times[0] > now - self._seconds:
            return Refuse("acme_slow_down")
        times.append(now)
        return Allow()


async def main() -> None:
    now = 0.0
    messenger = Messenger(MemoryStore(), realm="shop", policy=RateLimit(2, clock=lambda: now))
    ann, bob = [await messenger.user(name, name=name) for name in ("ann", "bob")]
    chat = await messenger.open_chat(ann, bob)

    for text in ("one", "two", "three"):
        try:
            await messenger.send(ann, chat, text)
            print("sent:", text)
        except PolicyRefused as refused:
            print("refused:", text, refused.code)
    now += 60
    await messenger.send(ann, chat, "three")
    print("sent a minute later: three")


if __name__ == "__main__":
    asyncio.run(main())
