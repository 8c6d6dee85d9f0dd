"""The examples of docs/authenticators.md run, and the promises of its tables hold."""

import re
import runpy
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from chatcore.model import utc_now
from chatcore.testing import VirtualClock
from chatcore_jwt import keys
from chatcore_litestar.auth import CACHE_SECONDS
from chatcore_server.settings import Settings, variable_of
from tests.support.api import Api, Someone, api_of
from tests.support.issuer import AUDIENCE, ISSUER, Issuer
from tests.support.logins import SAME_ORIGIN
from tests.support.repository import ROOT

TEXT = (ROOT / "docs/authenticators.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def app_of(example: str, folder: Path) -> Any:
    (folder / "example.py").write_text(example)
    return runpy.run_path(str(folder / "example.py"))["app"]


async def me(api: Api, prefix: str, **headers: str) -> tuple[int, Any]:
    answer = await api.call("GET", f"{prefix}/v1/me", headers=headers)
    return answer.status_code, answer.json()


async def test_cookie_example_runs(tmp_path: Path) -> None:
    async with api_of(app_of(EXAMPLES[0], tmp_path)) as api:
        assert await me(api, "", cookie="sid=secret-of-ann") == (
            200,
            {"user": "Ann", "handle": "17"},
        )
        assert (await me(api, "", cookie="sid=x"))[0] == 401
        for headers, status in ((SAME_ORIGIN, 404), ({}, 403)):
            cookie = {"cookie": "sid=secret-of-ann"}
            answer = await api.call("PUT", "/v1/users/42/chat", headers=cookie | headers)
            assert answer.status_code == status


async def test_token_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = Issuer(VirtualClock(utc_now()))
    asked = []

    def fetch_of(url: str, tls: None) -> Any:
        asked.append(url)
        return issuer.fetch

    monkeypatch.setattr(keys, "fetch_of", fetch_of)
    assert (ISSUER in EXAMPLES[1], f'"{AUDIENCE}"' in EXAMPLES[1]) == (True, True)
    async with api_of(app_of(EXAMPLES[1], tmp_path)) as api:
        answer = await api.call("GET", "/v1/me", Someone("", issuer.token()))
        assert answer.json() == {"user": "Ann", "handle": "17"}
    assert asked == ["https://login.shop.example/.well-known/jwks.json"]


async def test_litestar_example_runs(tmp_path: Path) -> None:
    async with api_of(app_of(EXAMPLES[2], tmp_path)) as api:
        found = await me(api, "/chat", cookie="sid=secret-of-ann")
        assert found == (200, {"user": "Ann", "handle": "17"})
        assert (await me(api, "/chat"))[0] == 401


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == 3


def test_times_of_the_document_are_those_of_the_code() -> None:
    assert (keys.UNKNOWN_KEY_SECONDS, keys.REFRESH_SECONDS, keys.SERVE_SECONDS) == (60, 300, 3600)
    # The session of its last token is cached for a minute more.
    assert keys.WAIT_SECONDS + CACHE_SECONDS == 7 * 60
    for text in ("once in 60 s", "within 5 minutes", "within 7 minutes", "for an hour"):
        assert text in TEXT


def test_settings_of_the_document_exist() -> None:
    named = set(re.findall(r"CHATCORE_\w+", TEXT))
    assert named <= {*map(variable_of, fields(Settings))}
    assert {name for name in named if "JW" in name} == {
        name for name in map(variable_of, fields(Settings)) if "JW" in name
    }
