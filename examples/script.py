"""A script of a shop tells buyers that their orders were shipped, each order once.

python examples/script.py
"""

from chatcore import Actor, HostKey, User
from chatcore.blocking import Bridge, Messenger
from chatcore_sqlalchemy import SqlAlchemyStore

SHIPPED = {1042: (1, "Ann"), 1043: (3, "Bob")}
"""The id and name of the buyer by the number of the order; in your shop, a query."""


def announce(messenger: Messenger, shop: User, order: int, buyer: User) -> bool:
    """Send the message, unless an earlier run has. Return whether it was sent now."""
    chat, _ = messenger.ensure_chat(shop, buyer, actor=Actor.HOST)
    # A key that no client can use. A run that was interrupted may be repeated.
    key = HostKey("host", f"shipped-{order}")
    text = f"Order {order} is on its way."
    return not messenger.send_once(shop, chat, text, key, actor=Actor.HOST).replayed


def main() -> None:
    with Bridge() as bridge:
        # With a service beside it, use PostgreSQL: one process at a time opens a SQLite file.
        store = bridge.open(SqlAlchemyStore.open, "sqlite:///chat.db")
        messenger = bridge.messenger(store, realm="shop")
        shop = messenger.user("shop", name="The shop")
        for order, (buyer_id, name) in SHIPPED.items():
            sent = announce(messenger, shop, order, messenger.user(str(buyer_id), name=name))
            print(order, "announced" if sent else "was announced before")


if __name__ == "__main__":
    main()
