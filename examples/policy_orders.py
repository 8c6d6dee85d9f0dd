"""A marketplace: only the buyer and the seller of an order may open a chat.

python examples/policy_orders.py
"""

import asyncio

from chatcore import Actor, Allow, Draft, Messenger, PolicyRefused, Refuse, User
from chatcore_memory import MemoryStore


class BuyerAndSeller:
    """Lets a user open a chat with the other side of an order. The shop itself may open any."""

    def __init__(self, orders: set[tuple[str, str]]) -> None:
        self._orders = orders  # (buyer, seller); in your shop, a query

    async def may_open(self, user: User, peer: User, actor: Actor) -> Allow | Refuse:
        if actor is not Actor.USER:
            return Allow()
        if {(user.name, peer.name), (peer.name, user.name)} & self._orders:
            return Allow()
        return Refuse("shop_no_order")

    async def may_send(self, draft: Draft) -> Allow:
        return Allow()


async def main() -> None:
    messenger = Messenger(MemoryStore(), realm="shop", policy=BuyerAndSeller({("ann", "bob")}))
    ann, bob, eve = [await messenger.user(name, name=name) for name in ("ann", "bob", "eve")]

    await messenger.open_chat(bob, ann)
    print("bob and ann have a chat, for ann ordered from bob")
    try:
        await messenger.open_chat(eve, ann)
    except PolicyRefused as refused:
        print("eve may not open one with ann:", refused.code)
    await messenger.open_chat(eve, ann, actor=Actor.HOST)
    print("the shop opened one for them")


if __name__ == "__main__":
    asyncio.run(main())
