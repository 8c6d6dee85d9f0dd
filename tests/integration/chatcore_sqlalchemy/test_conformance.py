"""Each SQL store keeps every promise of the ports."""

import pytest

from chatcore.testing import (
    ACCOUNT_STORE_CHECKS,
    CHAT_STORE_CHECKS,
    ERASURE_CHECKS,
    AccountStoreCheck,
    ChatStoreCheck,
    ErasureCheck,
)
from chatcore_sqlalchemy import SqlAlchemyStore


@pytest.mark.parametrize("check", ACCOUNT_STORE_CHECKS, ids=lambda check: check.__name__)
async def test_sql_store_passes_the_account_store_checks(
    check: AccountStoreCheck, store: SqlAlchemyStore
) -> None:
    await check(store)


@pytest.mark.parametrize("check", CHAT_STORE_CHECKS, ids=lambda check: check.__name__)
async def test_sql_store_passes_the_chat_store_checks(
    check: ChatStoreCheck, store: SqlAlchemyStore
) -> None:
    await check(store)


@pytest.mark.parametrize("check", ERASURE_CHECKS, ids=lambda check: check.__name__)
async def test_sql_store_passes_the_erasure_checks(
    check: ErasureCheck, store: SqlAlchemyStore
) -> None:
    await check(store)
