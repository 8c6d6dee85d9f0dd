"""Every example of docs/api.md works as shown, from top to bottom."""

import json
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

from chatcore_memory import MemoryStore
from tests.support.api import Api, Someone, api_of
from tests.support.apps import app_on
from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "api.md"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
GENERATED = ("session_id", "token", "refresh_token")
"""Keys whose values the service generates. Later examples use those of the document."""
CURSOR = re.compile(r'(?<="cursor": ")[0-9a-f]{16}(?=-)')
"""The part of a cursor that differs between stores."""


class Example(NamedTuple):
    line: str
    by: str
    body: str
    status: int
    headers: dict[str, str]
    answer: Any


def examples() -> list[Example]:
    blocks = re.findall(r"^```http\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [example(block) for block in blocks]


def example(block: str) -> Example:
    request, _, response = block.partition("HTTP/1.1 ")
    head, _, body = request.partition("\n\n")
    line, *token = head.splitlines()
    answer_head, _, answer = response.partition("\n\n")
    status, *headers = answer_head.splitlines()
    return Example(
        line,
        "".join(token).removeprefix("Authorization: Bearer "),
        body.strip(),
        int(status.split(" ")[0]),
        dict(header.split(": ") for header in headers),
        plain(json.loads(answer)),
    )


def plain(found: Any) -> Any:
    return json.loads(CURSOR.sub("x", json.dumps(found)))


async def test_every_example_of_the_document_works_as_shown() -> None:
    async with app_on(MemoryStore(), clock=lambda: NOW) as app, api_of(app) as api:
        tokens = {name: await token_of(api, name) for name in ("ann", "bob")}
        known: dict[str, str] = {}
        shown = examples()
        assert len(shown) >= 8
        for wanted in shown:
            method, path = wanted.line.split(" ")
            body = re.sub('[^"]+', lambda text: known.get(text[0], text[0]), wanted.body)
            token = tokens.get(wanted.by) or known.get(wanted.by)
            by = Someone(wanted.by, token) if token else None
            found = await api.call(method, path, by, content=body.encode())
            answer = found.json()
            for key in wanted.answer.keys() & {*GENERATED}:
                known[wanted.answer[key]] = answer[key]
            expected = json.dumps(wanted.answer)
            for shown_value, value in known.items():
                expected = expected.replace(json.dumps(shown_value), json.dumps(value))
            assert (found.status_code, plain(answer)) == (wanted.status, json.loads(expected))
            assert (
                wanted.headers.items()
                <= {name.title(): value for name, value in found.headers.items()}.items()
            )


async def token_of(api: Api, name: str) -> str:
    assert (await api.register(name)).status_code == 201
    token: str = (await api.log_in(name)).json()["token"]
    return token
