"""The table and its statements on databases that no test runs."""

from types import ModuleType

import pytest
from sqlalchemy import ClauseElement, MetaData
from sqlalchemy.dialects import mssql, mysql, oracle
from sqlalchemy.schema import CreateIndex, CreateTable

from chatcore_sqlalchemy.outbox import outbox_table
from chatcore_sqlalchemy.outbox.table import Rows


@pytest.mark.parametrize("database", [mysql, mssql, oracle])
def test_table_and_statements_compile(database: ModuleType) -> None:
    dialect = database.dialect()
    table = outbox_table(MetaData(), "shop_outbox", schema="shop")
    [index] = table.indexes
    rows = Rows(table)
    made: list[ClauseElement] = [
        CreateTable(table),
        CreateIndex(index),
        rows._delete,
        rows._refuse,
        rows._give_key,
    ]
    sql = [str(each.compile(dialect=dialect)) for each in made]
    assert all("shop_outbox" in each for each in sql)
    # The database numbers the rows.
    assert any(word in sql[0] for word in ("AUTO_INCREMENT", "IDENTITY"))
