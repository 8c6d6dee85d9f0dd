"""An entry of an event log whose message is missing: on a server that lags, or after damage."""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.api import Api, Someone, api_of
from tests.support.apps import app_on
from tests.support.postgres_server import PostgresServer, name_of

Sql = Callable[[str], Any]

HIDE = "CREATE TABLE {0} AS SELECT * FROM {1} WHERE {2}; DELETE FROM {1} WHERE {2}"
SHOW = "INSERT INTO {1} SELECT * FROM {0}; DROP TABLE {0}"


@pytest.fixture
def sql(url: str, path: Path, request: pytest.FixtureRequest) -> Sql:
    """Run SQL beside the store."""
    if not url.startswith("sqlite"):
        server: PostgresServer = request.getfixturevalue("postgres")
        return lambda statement: server.sql(statement, name_of(url))

    def beside(statement: str) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(statement)

    return beside


async def poll(api: Api, by: Someone, cursor: str) -> Any:
    return await api.call("GET", f"/v1/events?after={cursor}", by)


async def read_stream(api: Api, by: Someone, cursor: str) -> Any:
    """Read a stream until it ends."""
    accept = {"accept": "text/event-stream"}
    return await api.call("GET", f"/v1/events?after={cursor}", by, headers=accept)


async def test_events_stop_before_one_whose_message_is_missing(
    store: SqlAlchemyStore, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    async with app_on(store) as app, api_of(app) as api:
        ann, bob = await api.chat()
        begin = (await api.call("GET", "/v1/events", ann)).json()["cursor"]
        for text in ("one", "two", "three"):
            assert (await api.send(ann, bob.name, text)).status_code == 201
        hidden = ("hidden", "messages", "seq = 2")
        sql(HIDE.format(*hidden))

        before = (await poll(api, ann, begin)).json()
        assert [item["message"]["text"] for item in before["events"]] == ["one"]
        streamed = await read_stream(api, ann, begin)
        assert streamed.status_code == 200
        assert "one" in streamed.text
        assert "three" not in streamed.text
        for read in (poll, read_stream):
            caplog.clear()
            stopped = await read(api, ann, before["cursor"])
            assert (stopped.status_code, stopped.headers["retry-after"]) == (503, "1")
            [line] = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert stopped.headers["x-request-id"] in line.getMessage()
            assert "the message 2 of the chat" in str(line.exc_info and line.exc_info[1])

        sql(SHOW.format(*hidden))
        after = (await poll(api, ann, before["cursor"])).json()
        assert [item["message"]["text"] for item in after["events"]] == ["two", "three"]


async def test_events_do_not_skip_one_whose_chat_is_missing(
    store: SqlAlchemyStore, sql: Sql
) -> None:
    async with app_on(store) as app, api_of(app) as api:
        ann, bob = await api.chat()
        begin = (await api.call("GET", "/v1/events", ann)).json()["cursor"]
        for name in ("eve", "dan"):
            assert (await api.open_chat(ann, (await api.join(name)).name)).status_code == 201
        assert (await api.send(ann, bob.name, "one")).status_code == 201
        newest = ("hidden", "chats", "last_seq = 0 AND id = (SELECT max(id) FROM chats)")
        sql(HIDE.format(*newest))

        before = (await poll(api, ann, begin)).json()
        assert [item["type"] for item in before["events"]] == ["chat"]
        assert (await poll(api, ann, before["cursor"])).status_code == 503

        sql(SHOW.format(*newest))
        after = (await poll(api, ann, before["cursor"])).json()
        assert [item["type"] for item in after["events"]] == ["chat", "message"]
