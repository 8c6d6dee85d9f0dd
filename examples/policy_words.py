"""A word filter: what users send is stored with stars in place of some words.

python examples/policy_words.py
"""

import asyncio
import re

from chatcore import Actor, Allow, Draft, Messenger, Rewrite, User
from chatcore_memory import MemoryStore


class WordFilter:
    """Rewrites each of the words, in any case, as stars. Imports keep their texts."""

    def __init__(self, *words: str) -> None:
        choice = "|".join(map(re.escape, words))
        self._pattern = re.compile(rf"\b(?:{choice})\b", re.IGNORECASE)

    async def may_open(self, user: User, peer: User, actor: Actor) -> Allow:
        return Allow()

    async def may_send(self, draft: Draft) -> Allow | Rewrite:
        if draft.actor is Actor.IMPORT:
            return Allow()
        return Rewrite(self._pattern.sub(lambda found: "*" * len(found[0]), draft.text))


async def main() -> None:
    messenger = Messenger(MemoryStore(), realm="shop", policy=WordFilter("darn", "heck"))
    ann, bob = [await messenger.user(name, name=name) for name in ("ann", "bob")]
    chat = await messenger.open_chat(ann, bob)

    print((await messenger.send(ann, chat, "What the heck, Bob?")).text)
    first = await messenger.send_once(bob, chat, "Darn it, Ann.", key="1")
    # An honest retry sends what it sent before, and gets the first answer.
    again = await messenger.send_once(bob, chat, "Darn it, Ann.", key="1")
    print(again.message.text, again.replayed, again.message == first.message)
    print((await messenger.send(ann, chat, "Darn", actor=Actor.IMPORT)).text)


if __name__ == "__main__":
    asyncio.run(main())
