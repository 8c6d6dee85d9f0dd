"""A shop on PostgreSQL: an order and its chat message in one transaction, both or neither.

python examples/order_and_message.py postgresql://user:password@host/shop
"""

import asyncio
import sys

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chatcore import HostKey, MessageSent, Messenger, User
from chatcore_sqlalchemy import SqlAlchemyStore


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    buyer: Mapped[str]
    item: Mapped[str]
    price: Mapped[int]


async def order(
    session: AsyncSession, messenger: Messenger, buyer: User, seller: User, item: str, price: int
) -> None:
    """Store the order, and tell the seller. The caller commits, or rolls back."""
    placed = Order(buyer=buyer.handle, item=item, price=price)
    session.add(placed)
    await session.flush()  # gives the order its number
    within = messenger.within(session)
    chat, _ = await within.ensure_chat(buyer, seller)
    # Last, for until the commit nobody else can write to this chat.
    key = HostKey("host", f"order-{placed.id}")
    await within.send_once(buyer, chat, f"I ordered: {item}", key)


async def main(url: str) -> None:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    sessions = async_sessionmaker(engine)
    async with await SqlAlchemyStore.open(url) as store:
        messenger = Messenger(store, realm="shop.example")
        users = await messenger.users({"17": "Ann", "23": "Bob"})
        ann, bob = users["17"], users["23"]
        start = (await messenger.sync(bob)).cursor

        for item, price in (("a lamp", 40), ("a castle", 4_000_000)):
            async with sessions() as session:
                await order(session, messenger, ann, bob, item, price)
                if price > 1_000_000:
                    await session.rollback()
                    print(f"{item}: too dear, no order and no message")
                else:
                    await session.commit()
                    print(f"{item}: ordered")

        async for event in messenger.follow(bob, after=start):
            if isinstance(event, MessageSent):
                print(f"bob reads: {event.message.text}")
                break
        print(f"messages: {(await messenger.list_chats(bob))[0].last_seq}")
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
