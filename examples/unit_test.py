"""Unit tests of a shop that sends messages: in memory, with faults on demand.

pytest examples/unit_test.py
"""

import asyncio

import pytest

from chatcore import HostKey, Messenger, StoreUnavailable, User
from chatcore.testing import Faults, TwoUsers, assert_not_sent, assert_sent

# The shop's own code.


async def ship(messenger: Messenger, seller: User, buyer: User, order: int) -> None:
    """Tell the buyer. It may be called again after a failure."""
    chat, _ = await messenger.ensure_chat(seller, buyer)
    key = HostKey("host", f"shipped-{order}")
    await messenger.send_once(seller, chat, f"Order {order} has shipped", key)


# Its tests. The fixtures are those of the pytest plugin, which comes with chatcore.


def test_the_buyer_is_told(chatcore_messenger: Messenger, chatcore_users: TwoUsers) -> None:
    ann, bob = chatcore_users

    async def scenario() -> None:
        await assert_not_sent(chatcore_messenger, ann, bob)
        await ship(chatcore_messenger, ann, bob, 17)
        await assert_sent(chatcore_messenger, ann, bob, "Order 17 has shipped")

    asyncio.run(scenario())


@pytest.mark.parametrize("happens", [True, False])
def test_the_buyer_is_told_once_after_a_failure(
    chatcore_messenger: Messenger, chatcore_users: TwoUsers, chatcore_faults: Faults, happens: bool
) -> None:
    ann, bob = chatcore_users

    async def scenario() -> None:
        # The connection is lost: the message was stored, or it was not.
        chatcore_faults.next_write_unknown(happens=happens, method="append_message")
        with pytest.raises(StoreUnavailable):
            await ship(chatcore_messenger, ann, bob, 17)
        await ship(chatcore_messenger, ann, bob, 17)
        await assert_sent(chatcore_messenger, ann, bob, "Order 17 has shipped")

    asyncio.run(scenario())
