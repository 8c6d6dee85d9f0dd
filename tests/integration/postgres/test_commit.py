"""A connection that breaks during COMMIT: what was asked for is stored or is not, and nobody who
asks again gets it twice."""

import pytest

from chatcore import NewMessage, StoreUnavailable
from chatcore.testing.scene import ann_and_bob, read_all
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.postgres.proxy import COMMIT, Fate, proxy_to

when_cut = pytest.mark.parametrize("fate", [Fate.IS_LOST, Fate.IS_NOT_ANSWERED])


def once(fate: Fate):
    """A judge for whom the next COMMIT ends like that."""
    left = [fate]
    return lambda message: left.pop() if message == COMMIT and left else Fate.PASSES


@when_cut
async def test_a_send_is_unknown_and_its_retry_gives_one_message(
    fate: Fate, postgres_url: str
) -> None:
    async with proxy_to(postgres_url) as (proxy, url), await SqlAlchemyStore.open(url) as store:
        chat, ann, _ = await ann_and_bob(store)
        proxy.judge = once(fate)
        new = NewMessage(chat.id, ann.id, "once", 1, "key")
        with pytest.raises(StoreUnavailable, match="may or may not"):
            await store.append_message(new)
        assert proxy.cuts == 1
        sent = await store.append_message(new)
        assert sent.replayed == (fate is Fate.IS_NOT_ANSWERED)
        assert await read_all(store, chat) == [sent.message]
