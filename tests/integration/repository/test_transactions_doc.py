"""The example of docs/transactions.md, and the figures that it gives."""

import re
import subprocess
import sys
import textwrap

from sqlalchemy import Column, MetaData, Table, Text
from sqlalchemy.ext.asyncio import create_async_engine

from chatcore import Messenger
from chatcore.testing.scene import ann_and_bob, read_all
from chatcore_sqlalchemy import SqlAlchemyStore
from chatcore_sqlalchemy.postgres import session, writer
from tests.support.host import async_url
from tests.support.repository import ROOT

DOCUMENT = (ROOT / "docs" / "transactions.md").read_text()


def test_example_stores_order_and_message_together(postgres_url: str) -> None:
    [printed] = re.findall(r"^```text\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
    example = ROOT / "examples" / "order_and_message.py"
    done = subprocess.run(
        [sys.executable, example, postgres_url], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == (printed, "")


async def test_send_shares_the_transaction_as_shown(postgres_url: str) -> None:
    [shown] = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
    engine = create_async_engine(async_url(postgres_url))
    orders = Table("orders", MetaData(), Column("item", Text))
    async with engine.begin() as connection:
        await connection.run_sync(orders.create)
    async with await SqlAlchemyStore.open(postgres_url) as store:
        chat, ann, _ = await ann_and_bob(store)
        messenger = Messenger(store)
        names = {"engine": engine, "orders": orders, "messenger": messenger}
        code = f"async def shown(ann, chat):\n{textwrap.indent(shown, '    ')}"
        exec(code, names)  # noqa: S102 (the document's own code)
        await names["shown"](ann, chat)  # type: ignore[operator]
        assert [it.text for it in await read_all(store, chat)] == ["I ordered your lamp."]
    async with engine.connect() as connection:
        assert (await connection.execute(orders.select())).all() == [("lamp",)]
    await engine.dispose()


def test_figures_match_the_code() -> None:
    for said in (
        f"{session.LOCK_SECONDS} seconds for a lock",
        f"{session.STATEMENT_SECONDS} seconds for a statement",
        f"{writer.PATIENCE_MILLISECONDS} ms",
    ):
        assert said in DOCUMENT, said
