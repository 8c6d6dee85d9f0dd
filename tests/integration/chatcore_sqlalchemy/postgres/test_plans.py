"""Every statement reads a few rows on PostgreSQL, however full the tables are."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from chatcore import NewMessage
from chatcore_sqlalchemy.group_commit import Append
from chatcore_sqlalchemy.postgres import batch as postgres_batch
from chatcore_sqlalchemy.postgres.coalescing import COALESCED
from chatcore_sqlalchemy.postgres.connection import Connection, UrlSource
from chatcore_sqlalchemy.postgres.statement import in_schema, run
from tests.support.statements import STATEMENTS

POPULAR = 2_000
"""The user with 4,000 chats, half of them on either side of the pair, and 12,000 events."""

GROWN = """
INSERT INTO users (name, canonical, password_hash, registered_us)
SELECT 'u' || i, 'u' || i, '', 0 FROM generate_series(1, 4002) AS i;
INSERT INTO accounts (user_id, password_hash) SELECT id, 'hash' FROM users WHERE id < 4002;
INSERT INTO chats (lo_id, hi_id, last_seq, activity, opened_us, lo_sent)
SELECT least(i, 2000), greatest(i, 2000), 3, i, 0, 3
FROM generate_series(1, 4001) AS i WHERE i <> 2000;
INSERT INTO messages (chat_id, seq, sender_id, text, sent_us, idempotency_key, lo_sent)
SELECT id, seq, lo_id, 'hello', 0, 'k' || seq, seq FROM chats, generate_series(1, 3) AS seq;
INSERT INTO events (user_id, n, kind, chat_id, seq, at_us)
SELECT 2000, row_number() OVER (), 1, chat_id, seq, 0 FROM messages;
INSERT INTO blocks (user_id, peer_id, blocked_us)
SELECT lo_id, hi_id, 0 FROM chats UNION ALL SELECT hi_id, lo_id, 0 FROM chats;
INSERT INTO sessions (id, user_id, device, digest, created_us, used_us, expires_us, ends_us)
SELECT i || '-' || user_id, user_id, 'phone', '\\x00', 0, i, 1, 2
FROM accounts, generate_series(1, 3) AS i WHERE user_id < 4001;
INSERT INTO retired_names (digest) SELECT canonical FROM users;
INSERT INTO node_keys (node_id, digests, seen_us)
SELECT 'node ' || i, 'digest', i FROM generate_series(1, 3000) AS i;
"""

VALUES: dict[str, Any] = {
    "user_id": POPULAR,
    "lo": 5,
    "hi": POPULAR,
    "chat_id": 5,
    "limit": 20,
    "seq": 2,
    "n": 10_000,
    "before": 2**63 - 1,
    "canonical": "u7",
    "peer": "u7",
    "after_user": 1_990,
    "since_us": 0,
    "name": "new",
    "password_hash": "hash",
    "registered_us": 0,
    "old": "hash",
    "new": "hash",
    "opened_us": 0,
    "kind": 0,
    "at_us": 0,
    "digest": "digest",
    "from_us": 0,
    "erased_us": 0,
    "peer_id": 5,
    "blocked_us": 0,
    "after": 0,
    "reasons": 1,
    "keys": '["u7", "u2000", "nobody"]',
    "key": "k2",
    "digests": '["u7", "u2000", "unknown"]',
    "session_id": "2-7",
    "now_us": 0,
    "device": "phone",
    "created_us": 0,
    "used_us": 0,
    "expires_us": 1,
    "ends_us": 2,
    "salt": b"\0",
    "successor": b"\1",
    "repeat_since_us": 0,
    "node_id": "node 7",
    "seen_us": 3_000,
    "until_us": 2_990,
}
OTHER_VALUES: dict[str, dict[str, Any]] = {
    "ADD_USER": {"canonical": "new"},
    "ADD_PEOPLE": {"people": '[["u7", "known"], ["new", "new"]]'},
    "RENAME_PEOPLE": {"people": '[[7, "new"], [2000, "new"]]'},
    "ADD_CHAT": {"lo": 7, "hi": 8},
    "TRIM": {"before": 50},
    "FIRST_SINCE": {"before": 50},
    # These statements read and change everything a user has, so they run for a user with little.
    "LOCK_CHATS_OF": {"user_id": 7},
    "COUNT_CHATS_OF": {"user_id": 7},
    "CLOSE_CHATS_OF": {"user_id": 7},
    "DROP_BLOCKS_OF": {"user_id": 7},
    "DROP_LOG": {"user_id": 7},
    # A user in no chat, as every erased user is.
    "DROP_USER": {"user_id": 4002},
    "ADD_ACCOUNT": {"user_id": 4002},
    "DROP_ACCOUNT": {"user_id": 4001},
    "ADD_SESSION": {"session_id": "new", "digest": b"\0"},
    "END_SESSION": {"user_id": 7},
    "RENEW": {"digest": b"\0"},
    "REPEATED": {"digest": b"\0"},
    "ERASE_USER": {"canonical": "new"},
    "SEEN_NODES": {"since_us": 2_980},
    "DROP_UNSEEN": {"since_us": 10},
}

ROWS = """
SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)
FROM pg_stat_xact_user_tables
"""


def append(chat_id: int, sender_id: int, key: str) -> Append:
    return Append(NewMessage(chat_id, sender_id, "hello", 0, key), b"digest")


@pytest.fixture
async def connection(postgres_url: str) -> AsyncIterator[Connection]:
    connection = await UrlSource(f"{postgres_url}&search_path=chatcore").connect()
    await connection.execute(GROWN)
    yield connection
    await connection.close(timeout=5)


async def rows_read(connection: Connection, work: Callable[[], Awaitable[object]]) -> int:
    await connection.execute("BEGIN")
    # The counters include earlier transactions that the server has not accounted for yet.
    ((before,),) = await connection.fetch(ROWS)
    await work()
    ((after,),) = await connection.fetch(ROWS)
    await connection.execute("ROLLBACK")
    return int(after - before)


@pytest.mark.parametrize("analyzed", [False, True])
async def test_every_statement_reads_few_rows(analyzed: bool, connection: Connection) -> None:
    if analyzed:
        await connection.execute("ANALYZE")
    costs = {}
    for name, statement in STATEMENTS.items():
        values = VALUES | OTHER_VALUES.get(name, {})
        costs[name] = await rows_read(
            connection,
            lambda statement=statement, values=values: run(
                connection, "chatcore", statement, values
            ),  # type: ignore[misc]
        )
    batch = [append(chat, POPULAR, f"{chat}") for chat in range(100, 200)]
    costs["append"] = await rows_read(
        connection, lambda: postgres_batch.append_batch(connection, "chatcore", batch)
    )
    ids = [POPULAR, *range(1, 11)]
    for query in COALESCED.values():
        costs[query] = await rows_read(
            connection, partial(connection.fetch, in_schema(query, "chatcore"), ids)
        )
    assert len(costs) > 20
    # In a page of 20, each row has a chat, two users, an event and a message. The rows of the
    # popular user and of 100 peers are locked, read and changed.
    assert {
        name: cost for name, cost in costs.items() if cost > (1200 if name == "append" else 150)
    } == {}
    assert costs["CHATS_OF"] >= 20


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM messages WHERE text = 'hello' LIMIT 1 OFFSET 5000",
        "SELECT count(*) FROM chats",
    ],
)
async def test_table_scan_is_detected(statement: str, connection: Connection) -> None:
    assert await rows_read(connection, lambda: connection.fetch(statement)) > 3900
