"""Routes 3 to 6 answer 401 to every token but a valid one."""

import base64
import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from tests.support.api import Api, Someone
from tests.support.apps import SECRET
from tests.support.raw import connected, request
from tests.support.service import Service

ROUTES = [
    ("GET", "/chats"),
    ("POST", "/chat/nobody"),
    ("POST", "/chats/nobody/messages"),
    ("GET", "/chats/messages/nobody"),
]
HEADER = {"alg": "HS256", "typ": "JWT"}
NONE_SENT = "Bearer"
INVALID = 'Bearer error="invalid_token"'
Headers = list[tuple[bytes, bytes]]


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def sign(claims: Any, header: Any = HEADER, key: str = SECRET, digest: str = "sha256") -> str:
    signed = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{signed}.{encoded(hmac.digest(key.encode(), signed.encode(), digest))}"


def claims_of(someone: Someone, **others: Any) -> dict[str, Any]:
    claims: dict[str, Any] = decoded(someone.token.split(".")[1])
    return claims | others


def bearer(token: str) -> Headers:
    return [(b"Authorization", b"Bearer " + token.encode())]


async def test_token_is_the_jwt_of_the_contract(api: Api) -> None:
    before = int(time.time())
    ann = await api.join("ann")
    header, claims, signature = ann.token.split(".")
    assert decoded(header) == HEADER
    assert decoded(claims).keys() == {"exp", "iat", "user_id"}
    assert all(type(value) is int for value in decoded(claims).values())
    assert decoded(claims)["exp"] - decoded(claims)["iat"] == 43200
    assert before - 60 <= decoded(claims)["iat"] <= time.time() + 60
    assert len(base64.urlsafe_b64decode(signature + "=")) == hashlib.sha256().digest_size


WITHOUT_TOKEN: dict[str, Headers] = {
    "no header": [],
    "an empty header": [(b"Authorization", b"")],
    "no token": [(b"Authorization", b"Bearer")],
    "another scheme": [(b"Authorization", b"Basic YW5uOmNvcnJlY3QgaG9yc2U=")],
    "a longer scheme": [(b"Authorization", b"Bearers TOKEN")],
    "no scheme": [(b"Authorization", b"TOKEN")],
    "no space": [(b"Authorization", b"BearerTOKEN")],
    "another header": [(b"X-Authorization", b"Bearer TOKEN")],
    "a cookie": [(b"Cookie", b"token=TOKEN")],
}


async def test_request_without_a_token_is_refused(api: Api) -> None:
    ann = await api.join("ann")
    for kind, template in WITHOUT_TOKEN.items():
        headers = [(name, value.replace(b"TOKEN", ann.token.encode())) for name, value in template]
        await refused(api, kind, headers, NONE_SENT)


INVALID_TOKENS: dict[str, Callable[[str], Headers]] = {
    "not a JWT": lambda _: bearer("token"),
    "dots": lambda _: bearer(".."),
    "truncated": lambda token: bearer(token[:-1]),
    "another payload": lambda token: bearer(
        ".".join([token.split(".")[0], encoded(b'{"user_id":1}'), token.split(".")[2]])
    ),
    "without its signature": lambda token: bearer(token.rpartition(".")[0] + "."),
    "twice in one header": lambda token: bearer(f"{token}, {token}"),
    "two headers": lambda token: bearer(token) * 2,
    "a second header of another scheme": lambda token: [
        (b"Authorization", b"Basic YW5uOg=="),
        *bearer(token),
    ],
    "not ASCII": lambda token: [(b"Authorization", b"Bearer " + token.encode() + b"\xe9\xff")],
    "NUL in base64": lambda _: bearer("AA.AA.AA"),
    "over 4 KiB": lambda token: bearer(token + "A" * 4096),
    "20 kB": lambda _: bearer("A" * 20_000),
    "20 kB of a JWT": lambda token: bearer(token.replace(".", "." + "A" * 20_000, 1)),
}


async def test_invalid_token_is_refused(api: Api) -> None:
    ann = await api.join("ann")
    for kind, made in INVALID_TOKENS.items():
        await refused(api, kind, made(ann.token), INVALID)
    assert (await api.call("GET", "/chats", ann)).status_code == 200


FORGED: dict[str, Callable[[Someone], str]] = {
    "expired": lambda ann: sign(claims_of(ann, iat=1_000_000_000, exp=1_000_043_200)),
    "from the future": lambda ann: sign(claims_of(ann, iat=4_000_000_000, exp=4_000_043_200)),
    "alg none": lambda ann: sign(claims_of(ann), {"alg": "none", "typ": "JWT"}),
    "alg none, unsigned": lambda ann: (
        sign(claims_of(ann), {"alg": "none", "typ": "JWT"}).rpartition(".")[0] + "."
    ),
    "another key": lambda ann: sign(claims_of(ann), key="another secret of thirty-two bytes"),
    "an empty key": lambda ann: sign(claims_of(ann), key=""),
    "another algorithm": lambda ann: sign(
        claims_of(ann), {"alg": "HS512", "typ": "JWT"}, digest="sha512"
    ),
    "no expiry": lambda ann: sign({k: v for k, v in claims_of(ann).items() if k != "exp"}),
    "no issue time": lambda ann: sign({k: v for k, v in claims_of(ann).items() if k != "iat"}),
    "no user": lambda ann: sign({k: v for k, v in claims_of(ann).items() if k != "user_id"}),
    "a textual expiry": lambda ann: sign(claims_of(ann, exp="4000043200")),
    "an endless expiry": lambda ann: sign(claims_of(ann, exp=10**400)),
    "user true": lambda ann: sign(claims_of(ann, user_id=True)),
    "a textual user id": lambda ann: sign(claims_of(ann, user_id=str(claims_of(ann)["user_id"]))),
    "user 2**70": lambda ann: sign(claims_of(ann, user_id=2**70)),
    "user 0": lambda ann: sign(claims_of(ann, user_id=0)),
    "an unknown user": lambda ann: sign(claims_of(ann, user_id=2**60)),
    "an array": lambda _: sign([1]),
    "deep": lambda _: sign([[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]),
}


async def test_forged_token_is_refused(service: Service, api: Api) -> None:
    ann = await api.join("ann")
    for kind, made in FORGED.items():
        await refused(api, kind, bearer(made(ann)), INVALID)
    # The forger has the key, so the refusals above are due to what is wrong with the tokens.
    assert (await api.call("GET", "/chats", headers=bearer(sign(claims_of(ann))))).is_success


async def test_token_of_a_deleted_user_is_refused(service: Service, api: Api) -> None:
    ann = await api.join("ann")
    with closing(sqlite3.connect(service.database_path, timeout=60)) as database, database:
        database.execute("DELETE FROM users WHERE name = ?", (ann.name,))
    await refused(api, "deleted", bearer(ann.token), INVALID)


@pytest.mark.parametrize("scheme", ["bearer ", "BEARER ", "Bearer    ", "\t Bearer "])
async def test_scheme_is_accepted_in_any_case_and_spacing(api: Api, url: str, scheme: str) -> None:
    ann = await api.join("ann")
    async with connected(url) as raw:
        await raw.send(request("GET /chats", f"Authorization:{scheme}{ann.token} \t"))
        assert (await raw.answer()).status == 200


@pytest.mark.parametrize("value", ["Bearer ", "Bearer  \t ", "Bearer\tTOKEN"])
async def test_scheme_without_a_token_is_refused(api: Api, url: str, value: str) -> None:
    ann = await api.join("ann")
    async with connected(url) as raw:
        await raw.send(request("GET /chats", f"Authorization: {value.replace('TOKEN', ann.token)}"))
        answer = await raw.answer()
        assert (answer.status, answer.headers["www-authenticate"]) == (401, NONE_SENT)


async def refused(api: Api, kind: str, headers: Headers, challenge: str) -> None:
    for method, path in ROUTES:
        answer = await api.call(method, path, headers=headers)
        assert answer.status_code == 401, f"{kind}: {method} {path}"
        assert answer.json() == {"error": "Unauthorized"}, kind
        assert answer.headers.get_list("www-authenticate") == [challenge], kind
