"""The service for the users of an issuer, in place of accounts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from chatcore.model import utc_now
from tests.support.issuer import AUDIENCE, ISSUER, ec_key, jwk, key_set, rsa_key
from tests.support.service import QuickService, run


def token(**claims: Any) -> str:
    now = int(utc_now().timestamp())
    made = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 3600} | claims
    return jwt.encode(made, rsa_key(), "RS256", {"kid": "r1"})


def settings_in(folder: Path) -> dict[str, str]:
    file = folder / "keys.json"
    file.write_bytes(key_set(jwk(rsa_key(), "r1"), jwk(ec_key(), "e1")))
    return {"jwks_url": file.as_uri(), "jwt_issuer": ISSUER, "jwt_audience": f"web,{AUDIENCE}"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[QuickService]:
    with QuickService(tmp_path, **settings_in(tmp_path)) as service:
        yield service


def ask(
    service: QuickService, method: str, path: str, by: str | None = None, **options: Any
) -> httpx.Response:
    headers = {} if by is None else {"authorization": f"Bearer {by}"}
    url = service.url + path
    return httpx.request(method, url, headers=headers, timeout=60, trust_env=False, **options)


def test_users_of_the_issuer_chat(service: QuickService) -> None:
    ann, bob = [token(sub=sub, name=name) for sub, name in (("17", "Ann"), ("42", "Bob"))]
    assert ask(service, "GET", "/v1/me", bob).json() == {"user": "Bob", "handle": "42"}
    opened = ask(service, "PUT", "/v1/users/42/chat", ann)
    assert (opened.status_code, opened.json()["handle"]) == (201, "42")
    sent = ask(service, "POST", "/chats/42/messages", ann, json={"message": "hello"})
    assert (sent.status_code, sent.json()) == (201, {"sender": "17", "message": "hello"})
    service.restart()
    [chat] = ask(service, "GET", "/v1/chats", bob).json()["chats"]
    assert (chat["user"], chat["unread"]) == ("Ann", 1)
    assert ask(service, "GET", "/chats", token(sub="17", name="Ann", aud="x")).status_code == 401
    said = f"accepts the tokens of {ISSUER}"
    assert said in service.log()
    # No key of our own is made.
    assert not [*service.folder.glob("*.key")]


def test_there_are_no_accounts_and_no_page(service: QuickService) -> None:
    account = {"username": "ann", "password": "correct horse battery"}
    for method, path in (("POST", "/register"), ("POST", "/login"), ("GET", "/")):
        answer = ask(service, method, path, json=account)
        assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})
    paths = ask(service, "GET", "/schema/openapi.json").json()["paths"]
    assert "/chats" in paths
    assert not {"/register", "/login", "/v1/me/password", "/v1/logout-everywhere"} & paths.keys()
    assert paths["/v1/me"].keys() == {"get"}


def test_claims_and_realm_are_settings(tmp_path: Path) -> None:
    claims = {"jwt_handle_claim": "uid", "jwt_name_claim": "nick", "jwt_realm": "shop"}
    with QuickService(tmp_path, **settings_in(tmp_path) | claims) as service:
        me = ask(service, "GET", "/v1/me", token(uid=17, nick="Annie"))
        assert me.json() == {"user": "Annie", "handle": "17"}
        assert ask(service, "GET", "/v1/me", token(sub="17", name="Ann")).status_code == 401
    assert "refused a well-signed token: it lacks 'uid' or 'nick'" in service.log()


REFUSED: dict[str, tuple[dict[str, str | None], str]] = {
    "no issuer": ({"jwt_issuer": None}, "CHATCORE_JWT_ISSUER missing"),
    "no audience": ({"jwt_audience": None}, "CHATCORE_JWT_AUDIENCE missing"),
    "no keys": ({"jwks_url": None}, "CHATCORE_JWKS_URL missing"),
    "plain HTTP": ({"jwks_url": "http://login.shop.example/keys"}, "https://"),
    "no such file": ({"jwks_url": "file:///no/such/keys.json"}, "no keys can be read"),
    "empty audience": ({"jwt_audience": "web,,chat"}, "separated by commas"),
    "realm of two words": ({"jwt_realm": "my shop"}, "visible characters"),
}


@pytest.mark.parametrize(("changed", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_service_does_not_start_with_half_of_the_settings(
    changed: dict[str, str | None], text: str, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path) | changed
    given = {name: value for name, value in settings.items() if value is not None}
    ended = run("serve", "--port", "0", cwd=tmp_path, connect_seconds="60", **given)
    assert ended.returncode == 2
    lines = [line for line in ended.stderr.splitlines() if line.startswith("chatcore: ")]
    assert re.fullmatch(r"chatcore: [^\n]+", lines[-1])
    assert text in lines[-1]


def test_realm_alone_is_refused_too(tmp_path: Path) -> None:
    ended = run("serve", "--port", "0", cwd=tmp_path, jwt_realm="shop")
    assert ended.returncode == 2
    assert "CHATCORE_JWKS_URL" in ended.stderr
