"""A batch plan made while the tables were empty still reads few rows of full ones."""

from chatcore_sqlalchemy.postgres.batch import append_batch
from chatcore_sqlalchemy.postgres.connection import UrlSource
from tests.integration.chatcore_sqlalchemy.postgres.test_plans import (
    GROWN,
    POPULAR,
    append,
    rows_read,
)

FEW = """
INSERT INTO users (id, name, canonical, password_hash, registered_us)
VALUES (10001, 'ann', 'ann', 'hash', 0), (10002, 'bob', 'bob', 'hash', 0);
INSERT INTO chats (id, lo_id, hi_id, last_seq, activity, opened_us)
VALUES (10001, 10001, 10002, 0, 1, 0);
"""


async def test_plan_for_empty_tables_reads_few_rows_of_full_ones(postgres_url: str) -> None:
    connection = await UrlSource(f"{postgres_url}&search_path=chatcore").connect()
    await connection.execute("BEGIN")
    await connection.execute(FEW)
    await append_batch(connection, "chatcore", [append(10001, 10001, "key")])
    await connection.execute("ROLLBACK")
    await connection.execute(GROWN)
    batch = [append(chat, POPULAR, f"{chat}") for chat in range(100, 200)]
    assert await rows_read(connection, lambda: append_batch(connection, "chatcore", batch)) < 1200
    await connection.close(timeout=5)
