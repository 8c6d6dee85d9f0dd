"""A host's own tokens: what is accepted, and what is not."""

import asyncio
import base64
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest

from chatcore import (
    InvalidHandle,
    InvalidName,
    InvalidToken,
    Messenger,
    RequestHead,
    Session,
    UserErased,
)
from chatcore.ports import Authenticator
from chatcore.testing import VirtualClock
from chatcore_jwt import JwksKeys, JwtAuthenticator, SecretKeys
from chatcore_memory import MemoryStore
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, claims_of, ec_key, jwk, rsa_key

SECRET = "the host's secret of thirty-two bytes"
OTHER = "another secret of thirty-two bytes or more"


class Host:
    """A host whose tokens are signed by an issuer, or with a secret."""

    def __init__(self, *secrets: str, **options: Any) -> None:
        self.clock = VirtualClock()
        self.issuer = Issuer(self.clock)
        self.messenger = Messenger(MemoryStore(), realm="shop")
        keys = SecretKeys(*secrets) if secrets else JwksKeys("https://x/", fetch=self.issuer.fetch)
        settings: dict[str, Any] = {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "clock": self.clock,
        } | options
        self.login = JwtAuthenticator(self.messenger.user, keys, **settings)

    async def refuses(self, token: str) -> bool:
        [outcome] = await asyncio.gather(self.login.session(token), return_exceptions=True)
        if isinstance(outcome, Session):
            return False
        assert type(outcome) is InvalidToken
        # Nothing that could reach a log quotes the token.
        assert not token or token not in repr((outcome, outcome.__cause__, outcome.__context__))
        return True


def signed(clock: VirtualClock, secret: str = SECRET, **claims: Any) -> str:
    return jwt.encode(claims_of(clock, **claims), secret, "HS256")


@pytest.mark.parametrize("kid", ["r1", "e1"])
async def test_token_of_the_issuer_opens_a_session(kid: str) -> None:
    host = Host()
    session = await host.login.session(host.issuer.token(kid))
    assert (session.user.handle, session.user.name, session.user.realm) == ("17", "Ann", "shop")
    assert session.expires_at is not None
    assert (session.expires_at - host.clock()).total_seconds() == 3600
    assert isinstance(host.login, Authenticator)
    assert not host.login.ambient


async def test_token_signed_with_the_secret_opens_a_session() -> None:
    host = Host(SECRET, OTHER)
    for secret in (SECRET, OTHER):
        session = await host.login.session(signed(host.clock, secret))
        assert session.user.handle == "17"
    assert await host.refuses(signed(host.clock, "a third secret of thirty-two bytes or more"))


CLAIMS: dict[str, dict[str, Any]] = {
    "no issuer": {"iss": None},
    "another issuer": {"iss": ISSUER + "x"},
    "issuer in a list": {"iss": [ISSUER]},
    "no audience": {"aud": None},
    "another audience": {"aud": "shop"},
    "other audiences": {"aud": ["shop", "mail"]},
    "part of the audience": {"aud": "cha"},
    "audience of another type": {"aud": {"chat": 1}},
    "no expiry": {"exp": None},
    "expired": {"exp": 1},
    "expiry as text": {"exp": "9999999999"},
    "expiry true": {"exp": True},
    "expiry beyond time": {"exp": 10**18},
    "expiry beyond floats": {"exp": 10**400},
    "not valid yet": {"nbf": 2**32},
    "valid from beyond floats": {"nbf": 10**400},
    "valid from true": {"nbf": True},
    "no handle": {"sub": None},
    "handle of another type": {"sub": ["17"]},
    "no name": {"name": None},
    "name of another type": {"name": ["Ann"]},
}


@pytest.mark.parametrize("claims", CLAIMS.values(), ids=CLAIMS.keys())
@pytest.mark.parametrize("secrets", [(), (SECRET,)], ids=["issuer", "secret"])
async def test_token_with_other_claims_is_refused(
    secrets: tuple[str, ...], claims: dict[str, Any]
) -> None:
    host = Host(*secrets)
    make: Callable[..., str] = (
        (lambda **it: signed(host.clock, **it)) if secrets else host.issuer.token
    )
    # PyJWT checks the types of some claims when it signs.
    payload = make(**{key: value for key, value in claims.items() if value is None})
    if any(value is not None for value in claims.values()):
        payload = resigned(host, payload, secrets, claims)
    assert await host.refuses(payload)
    assert not await host.refuses(make())


def resigned(host: Host, token: str, secrets: tuple[str, ...], claims: dict[str, Any]) -> str:
    """The token with other claims, signed again as plain JSON."""
    content = jwt.decode(token, options={"verify_signature": False}) | claims
    return of_payload(host, json.dumps(content).encode(), secrets)


def of_payload(host: Host, payload: bytes, secrets: tuple[str, ...] = ()) -> str:
    jws = jwt.PyJWS()
    if secrets:
        return jws.encode(payload, secrets[0], "HS256")
    return jws.encode(payload, host.issuer.keys["r1"], "RS256", {"kid": "r1"})


async def test_expiry_is_checked_by_the_injected_clock() -> None:
    host = Host()
    token = host.issuer.token()
    host.clock.now += timedelta(seconds=-1)
    assert not await host.refuses(token)
    host.clock.now += timedelta(seconds=1)
    host.clock.now += timedelta(hours=1)
    assert await host.refuses(token)


async def test_clock_of_the_issuer_may_be_ahead_by_30_seconds() -> None:
    host = Host()
    now = int(host.clock().timestamp())
    assert not await host.refuses(host.issuer.token(nbf=now + 30))
    assert await host.refuses(host.issuer.token(nbf=now + 31))


async def test_claims_of_usual_forms_are_accepted() -> None:
    host = Host(audience=["web", "chat"])
    for claims in ({"aud": ["shop", "chat"]}, {"exp": 4e9 + 0.5}, {"scope": "x", "roles": [1]}):
        assert not await host.refuses(host.issuer.token(**claims))
    for kind in ("JWT", "at+jwt", "application/at+JWT"):
        assert not await host.refuses(host.issuer.token(headers={"typ": kind}))


PAYLOADS: dict[str, Callable[[str], bytes]] = {
    "two of a name": lambda text: f'{text[:-1]}, "iss": "{ISSUER}"}}'.encode(),
    "NaN": lambda text: f'{text[:-1]}, "x": NaN}}'.encode(),
    "infinity": lambda text: f'{text[:-1]}, "x": -Infinity}}'.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "not UTF-8": lambda text: text.encode().replace(b"Ann", b"\xff"),
    "cut off": lambda text: text[:-1].encode(),
    "a list of claims": lambda text: f"[{text}]".encode(),
    "text": lambda text: json.dumps(text).encode(),
    "deep": lambda text: b"[" * 5_000,
}
"""What is made of good claims."""


@pytest.mark.parametrize("spoil", PAYLOADS.values(), ids=PAYLOADS.keys())
async def test_signed_payload_that_is_no_set_of_claims_is_refused(
    spoil: Callable[[str], bytes],
) -> None:
    host = Host()
    text = json.dumps(claims_of(host.clock))
    assert not await host.refuses(of_payload(host, text.encode()))
    assert await host.refuses(of_payload(host, spoil(text)))


# The algorithm belongs to the key


def forged(header: dict[str, Any], payload: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    parts = [json.dumps(part).encode() for part in (header, payload)]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (text + b"." + base64.urlsafe_b64encode(sign(text)).rstrip(b"=")).decode()


async def test_token_does_not_choose_the_algorithm() -> None:
    host = Host()
    claims = claims_of(host.clock)
    hs256 = jwt.get_algorithm_by_name("HS256")
    public = json.dumps(jwk(rsa_key(), "r1"))
    for algorithm in ("none", "None", "HS256", "ES256", "RS384", "PS256", "", None, 5, ["RS256"]):
        for kid in ("r1", "e1"):
            header = {"alg": algorithm, "kid": kid}
            # The public key as the secret is the classic confusion.
            token = forged(header, claims, lambda text: hs256.sign(text, public.encode()))
            assert await host.refuses(token)
    assert await host.refuses(jwt.encode(claims, rsa_key(), "PS256", headers={"kid": "r1"}))
    assert await host.refuses(jwt.encode(claims, rsa_key(), "RS512", headers={"kid": "r1"}))
    of_other_key = jwt.encode(claims, ec_key(), "ES256", headers={"kid": "r1"})
    assert await host.refuses(of_other_key)
    by_secret = Host(SECRET)
    for token in (host.issuer.token(), jwt.encode(claims, SECRET + "x" * 64, "HS512")):
        assert await by_secret.refuses(token)


async def test_keys_and_urls_inside_a_token_are_ignored() -> None:
    host = Host()
    evil = rsa_key(1)
    headers = {
        "jwk": jwk(evil, "r1"),
        "jku": "https://evil.example/keys",
        "x5u": "https://evil.example/certificate",
        "x5c": ["MIIB"],
    }
    assert await host.refuses(host.issuer.token("r1", evil, headers))
    assert not await host.refuses(host.issuer.token("r1", None, headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"crit": ["exp"]},
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": 1},
    ],
)
async def test_token_of_another_kind_is_refused(headers: dict[str, Any]) -> None:
    host = Host()
    assert await host.refuses(host.issuer.token(headers=headers))


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b", "a.b.c", "a.b.c.d", "....", "e30.e30.", "e30.e30.e30", "é.b.c", "W10.b.c"],
)
async def test_text_that_is_no_token_is_refused(token: str) -> None:
    assert await Host().refuses(token)
    assert await Host(SECRET).refuses(token)


async def test_critical_extension_is_refused_even_if_it_changes_nothing() -> None:
    host = Host()
    rs256 = jwt.get_algorithm_by_name("RS256")
    plain: dict[str, Any] = {"alg": "RS256", "kid": "r1"}
    for header, refused in ((plain, False), (plain | {"crit": ["b64"], "b64": True}, True)):
        claims = claims_of(host.clock)
        token = forged(header, claims, lambda text: rs256.sign(text, rsa_key()))
        assert await host.refuses(token) == refused


async def test_changed_token_is_refused() -> None:
    host = Host()
    head, payload, signature = host.issuer.token().split(".")
    other, *_ = host.issuer.token(sub="18").split(".")[1:]
    assert await host.refuses(f"{head}.{other}.{signature}")
    assert await host.refuses(f"{head}.{payload}.{signature[:-4]}AAAA")
    assert await host.refuses(f"{head}.{payload}.")


# Users


async def test_claims_for_handle_and_name_are_configured() -> None:
    host = Host(handle_claim="uid", name_claim="nick")
    session = await host.login.session(host.issuer.token(uid=42, nick="Annie"))
    assert (session.user.handle, session.user.name) == ("42", "Annie")
    nameless = Host(handle_claim="email", name_claim=None)
    session = await nameless.login.session(nameless.issuer.token(email="ann@shop.example"))
    assert (session.user.handle, session.user.name) == ("ann@shop.example", "ann@shop.example")


async def test_new_name_in_a_token_renames_the_user() -> None:
    host = Host()
    ann = (await host.login.session(host.issuer.token())).user
    renamed = (await host.login.session(host.issuer.token(name="Anna"))).user
    assert (renamed.id, renamed.name) == (ann.id, "Anna")


async def test_older_token_does_not_undo_a_rename() -> None:
    host = Host(SECRET)
    older = signed(host.clock, name="Ann", iat=1000)
    newer = signed(host.clock, name="Ann Smith", iat=1001.5)
    names = [(await host.login.session(token)).user.name for token in (older, newer, older, newer)]
    assert names == ["Ann", "Ann Smith", "Ann Smith", "Ann Smith"]


async def test_token_with_an_invalid_name_does_not_void_older_ones() -> None:
    host = Host(SECRET)
    with pytest.raises(InvalidName):
        await host.login.session(signed(host.clock, name="", iat=1001))
    older = signed(host.clock, name="Ann", iat=1000)
    assert (await host.login.session(older)).user.name == "Ann"


async def test_handle_and_name_follow_the_rules_of_users() -> None:
    host = Host()
    with pytest.raises(InvalidHandle):
        await host.login.session(host.issuer.token(sub="two words"))
    with pytest.raises(InvalidName):
        await host.login.session(host.issuer.token(name=""))
    ann = (await host.login.session(host.issuer.token())).user
    await host.messenger.erase(ann)
    with pytest.raises(UserErased):
        await host.login.session(host.issuer.token())


async def test_reason_of_a_refused_signed_token_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    host = Host()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            for claims in ({"aud": "shop"}, {"name": None}):
                assert await host.refuses(host.issuer.token(**claims))
            for token in (host.issuer.token(sub="two words"), host.issuer.token(name="")):
                with pytest.raises((InvalidHandle, InvalidName)):
                    await host.login.session(token)
        assert await host.refuses(host.issuer.token("r1", rsa_key(1)))
    assert [record.getMessage() for record in caplog.records] == [
        "refused a well-signed token: it is for another audience (aud); logged once",
        "refused a well-signed token: it lacks 'sub' or 'name'; logged once",
        *(
            "refused a well-signed token: it has a handle or a name that no user can have "
            f"({code}); logged once"
            for code in ("invalid_handle", "invalid_name")
        ),
    ]


# Settings


def request(**headers: str) -> RequestHead:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return RequestHead({"headers": pairs})


def test_token_is_read_from_the_header_or_a_cookie() -> None:
    bearer, cookie = Host(SECRET).login, Host(SECRET, cookie="jwt").login
    assert (bearer.ambient, cookie.ambient) == (False, True)
    both = request(authorization="Bearer abc", cookie="jwt=def")
    assert (bearer.credential(both), cookie.credential(both)) == ("abc", "def")
    for login in (bearer, cookie):
        assert login.credential(request()) is None
    assert cookie.credential(request(cookie="jwt=")) is None
    for login, long in (
        (bearer, request(authorization="Bearer " + "x" * 8193)),
        (cookie, request(cookie="jwt=" + "x" * 8193)),
    ):
        with pytest.raises(InvalidToken):
            login.credential(long)


@pytest.mark.parametrize(
    "settings", [{"issuer": ""}, {"audience": ""}, {"audience": []}, {"audience": ["chat", ""]}]
)
def test_issuer_and_audience_are_required(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="issuer and audience"):
        Host(SECRET, **settings)


@pytest.mark.parametrize("secrets", [(), ("short",), (SECRET, "")])
def test_secret_follows_the_rules_of_our_own(secrets: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="secret"):
        SecretKeys(*secrets)


def test_missing_cryptography_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatcore_jwt.keys.has_crypto", False)
    with pytest.raises(ImportError, match=r"pip install 'chatcore\[jwks\]'"):
        JwksKeys("https://login.shop.example/keys")
