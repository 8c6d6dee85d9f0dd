"""The fields of a log line, and the secrets it must not contain."""

import json
import logging
import re
from collections.abc import Iterator

import pytest

from chatcore import StoreUnavailable
from chatcore.model import NewMessage, Sent
from chatcore_memory import MemoryStore
from chatcore_server.observe import request_log as logs
from chatcore_server.observe.log_lines import JsonLines
from chatcore_server.observe.request_log import log_requests
from tests.support.api import api_of
from tests.support.apps import app_on

SECRETS = ("correct horse", "a secret text", "eyJ", "a-key", "curious=1")


class Broken(MemoryStore):
    async def append_message(self, new: NewMessage) -> Sent:
        raise StoreUnavailable("the disk is gone") from OSError("no disk")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The logged lines, in JSON."""
    written: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler = Keep()
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("chatcore")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield written
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_log_record_is_one_json_object_in_one_line() -> None:
    record = logging.LogRecord("chatcore", logging.WARNING, "", 0, "a\n%s \x1b[1mü", ("b",), None)
    record.created = 1_700_000_000.25
    line = JsonLines().format(record)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250000Z",
        "level": "warning",
        "logger": "chatcore",
        "message": "a\nb \x1b[1mü",
    }


async def test_log_of_requests_and_failures_contains_no_secrets(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine any request may be slow, and slow requests are logged differently.
    monkeypatch.setattr(logs, "SLOW_SECONDS", float("inf"))
    async with app_on(Broken()) as app, api_of(log_requests(app, every=True)) as api:
        ann, bob = await api.chat()
        failed = await api.send(
            ann, bob.name, "a secret text", headers={"idempotency-key": "a-key"}
        )
        assert failed.status_code == 503
        assert (await api.call("GET", "/nowhere?curious=1")).status_code == 404
    records = [json.loads(line) for line in lines]
    assert {secret for secret in SECRETS if any(secret in line for line in lines)} == set()
    [failure] = [line for line in records if "traceback" in line]
    assert failure["level"] == "error"
    assert "StoreUnavailable: the disk is gone" in failure["traceback"]
    assert "no disk" in failure["traceback"]
    requests = [line for line in records if line["logger"] == "chatcore.access"]
    sent = next(line for line in requests if line["route"] == "/chats/{user_name}/messages")
    assert (sent["method"], sent["status"], sent["user_id"]) == ("POST", 503, 1)
    assert re.fullmatch(r"POST /chats/bob-\w+/messages 503 \d+\.\d ms", sent["message"])
    assert sent["ms"] >= 0
    nowhere = requests[-1]
    assert (nowhere["route"], nowhere["status"], "user_id" in nowhere) == (None, 404, False)
