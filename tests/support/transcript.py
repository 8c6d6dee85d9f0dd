"""Transcripts: requests and responses as on the wire, in a readable file.

    # A comment.
    > POST /login
    > Content-Type: application/json
    >
    > {"username": "{{ann}}", "password": "correct horse"}
    < 200
    <
    < {"token": "{{ann's token}}"}

Three parts of a response are compared: the status; the JSON value of the body, apart from the
order of keys; and the headers in PROMISED below, which must be exactly those in the transcript.
A response with a body is `application/json`, unless the transcript has a Content-Type.

A placeholder of one word is a user name, new in every run. A placeholder of several
words is a value that the service generates: it is captured at its first use, in a response, and
every later use stands for the same value.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.api import Api, fresh

PROMISED = {
    "allow",
    "idempotency-replayed",
    "link",
    "location",
    "retry-after",
    "set-cookie",
    "www-authenticate",
}
PLACEHOLDER = re.compile(r"\{\{([^{}]+)\}\}")
BARE_PLACEHOLDER = re.compile(r": (\{\{[^{}]+\}\})")
KINDS = {
    "token": re.compile(r'"[\w-]+\.[\w-]+\.[\w-]+"', re.ASCII),
    "secret": re.compile(r'"[0-9A-Za-z_-]{64}"'),
    "seconds": re.compile(r"[1-9][0-9]*"),
    "session": re.compile(r'"[0-9a-f]{32}"'),
    "id": re.compile(r"[1-9][0-9]*"),
    "time": re.compile(r'"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"'),
    "cursor": re.compile(r'"[0-9A-Za-z-]{1,72}"'),
    "tombstone": re.compile(r'"deleted user [0-9a-f]{8}"'),
    "place": re.compile(r'"[0-9A-Za-z-]{1,72}"'),
}
"""The JSON pattern of a generated value, by the last word of its placeholder."""


@dataclass
class Half:
    """A request or a response: its first line, its headers, its body."""

    line: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str = ""


@dataclass
class Exchange:
    place: str
    request: Half
    response: Half


def read_transcript(path: Path) -> list[Exchange]:
    halves = [*_halves(path)]
    signs = "".join(sign for sign, _, _ in halves)
    assert signs == "><" * (len(signs) // 2), f"{path}: a request without its response"
    return [
        Exchange(place, request, response)
        for (_, place, request), (_, _, response) in zip(halves[::2], halves[1::2], strict=True)
    ]


def _halves(path: Path) -> Iterator[tuple[str, str, Half]]:
    lines: list[str] = []
    sign, start = "", 0
    for number, line in enumerate([*path.read_text("utf-8").splitlines(), ""], 1):
        if lines and line[:1] != sign:
            yield sign, f"{path.name}:{start}", _half(lines)
            lines = []
        if line[:1] in {">", "<"}:
            sign, start = line[0], start if lines else number
            lines.append(line[2:])
        else:
            assert not line or line.startswith("#"), f"{path.name}:{number}: {line}"


def _half(lines: list[str]) -> Half:
    head, _, body = "\n".join(lines).partition("\n\n")
    line, *headers = head.splitlines()
    pairs = [header.partition(": ") for header in headers]
    return Half(line, [(name, value) for name, _, value in pairs], body)


class Replay:
    """One run of a transcript."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._values: dict[str, Any] = {}

    async def run(self, exchange: Exchange) -> None:
        method, target = exchange.request.line.split(" ", 1)
        # The name of a tombstone contains white space.
        target = self._filled(target).replace(" ", "%20")
        headers = [(name, self._filled(value)) for name, value in exchange.request.headers]
        body = self._filled(exchange.request.body).encode()
        response = await self._api.call(method, target, headers=headers, content=body)
        expected = exchange.response
        assert response.status_code == int(expected.line)
        # The body first: a header may repeat one of its values.
        self._compare_bodies(expected.body, response.content)
        promised = [(name, self._filled(value)) for name, value in expected.headers]
        assert _promised(response.headers.multi_items()) == _promised(promised)
        if expected.body:
            content_type = dict(expected.headers).get("Content-Type", "application/json")
            assert response.headers["content-type"].partition(";")[0] == content_type

    def _compare_bodies(self, wanted: str, found: bytes) -> None:
        if not wanted:
            assert found == b""
            return
        filled = json.loads(BARE_PLACEHOLDER.sub(r': "\1"', wanted))
        self._compare(filled, json.loads(found, object_pairs_hook=_unique))

    def _compare(self, wanted: Any, found: Any) -> None:
        if isinstance(wanted, dict):
            assert found.keys() == wanted.keys()
            for key, value in wanted.items():
                self._compare(value, found[key])
        elif isinstance(wanted, list):
            assert len(found) == len(wanted)
            for one, other in zip(wanted, found, strict=True):
                self._compare(one, other)
        elif isinstance(wanted, str):
            match = PLACEHOLDER.fullmatch(wanted)
            if match and " " in match[1]:
                assert KINDS[match[1].rpartition(" ")[2]].fullmatch(json.dumps(found))
                assert self._values.setdefault(match[1], found) == found
            else:
                assert found == self._filled(wanted)
        else:
            assert (type(found), found) == (type(wanted), wanted)

    def _filled(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1]
            if " " not in name:
                self._values.setdefault(name, fresh(name))
            return str(self._values[name])

        return PLACEHOLDER.sub(value, text)


def _promised(headers: list[tuple[str, str]]) -> list[tuple[str, Any]]:
    """Ignore the order of the methods in Allow."""
    return sorted(
        (name.lower(), sorted(value.split(", ")) if name.lower() == "allow" else value)
        for name, value in headers
        if name.lower() in PROMISED
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a key comes twice"
    return dict(pairs)
