"""A host's users on each database, beyond the checks of the kit."""

import asyncio

import pytest

from chatcore import Messenger, UserErased
from chatcore_sqlalchemy import SqlAlchemyStore


async def test_refused_upserts_use_up_no_ids(store: SqlAlchemyStore) -> None:
    """A client may repeat them, and the ids of a restored copy begin a million further."""
    shop = Messenger(store, realm="shop")
    await shop.erase(await shop.user("gone", name="Ann"))
    first = await shop.user("1", name="Bob")
    for _ in range(5):
        with pytest.raises(UserErased):
            await shop.users({"gone": "Ann", "2": "Eve"})
    assert (await shop.user("2", name="Eve")).id == first.id + 1


async def test_pieces_in_any_order_leave_each_handle_with_one_user(store: SqlAlchemyStore) -> None:
    """Two calls that lock or add the same users in opposite orders could wait for each other."""
    shop = Messenger(store, realm="shop")
    handles = [f"user-{n}" for n in range(1200)]
    for round_ in range(2):
        calls = [
            shop.users(dict.fromkeys(order, f"{round_}-{call}"))
            for call, order in enumerate([handles, handles[::-1]] * 2)
        ]
        found = await asyncio.gather(*calls)
        for users in found[1:]:
            assert {it.handle: it.id for it in users.values()} == {
                it.handle: it.id for it in found[0].values()
            }


async def test_longest_realm_and_handle_are_kept(store: SqlAlchemyStore) -> None:
    """In UTF-8 they have 1,536 bytes; an entry of an index of PostgreSQL may have 2,704."""
    widest = "\U00020000"
    shop = Messenger(store, realm=widest * 256)
    user = await shop.user(widest * 128, name=widest * 256)
    assert await shop.find_user(widest * 128) == user
    assert await shop.user(widest * 128, name="Ann") == user._replace(name="Ann")
