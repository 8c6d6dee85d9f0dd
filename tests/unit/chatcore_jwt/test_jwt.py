"""JWTs: the claims they carry, and the tokens that are refused.

Forged tokens are built by hand, independently of the library under test.
"""

import hmac
import json
import secrets
import string
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcore.errors import InvalidToken
from chatcore.ports import Claims
from chatcore.testing import TOKEN_ISSUER_CHECKS, TokenIssuerCheck
from chatcore_jwt import JwtTokens

SECRET = "a secret of thirty-two bytes, ok"
NOW = datetime(2033, 5, 18, 3, 33, 20, 999_999, UTC)
IAT = 2_000_000_000  # NOW, rounded down.
EXP = IAT + 43_200
HEADER = {"alg": "HS256", "typ": "JWT"}
CLAIMS = {"exp": EXP, "iat": IAT, "user_id": 7}
SECOND, MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)
HUGE = 10**400


def base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def forge(
    header: object = HEADER, claims: object = CLAIMS, *, key: str = SECRET, digest: str = "sha256"
) -> str:
    """Return a correctly signed token. A string argument is used as raw JSON."""
    parts = (part if isinstance(part, str) else json.dumps(part) for part in (header, claims))
    signed = ".".join(base64(part.encode()) for part in parts)
    signature = hmac.digest(key.encode(), signed.encode(), digest)
    return f"{signed}.{base64(signature)}"


SESSION_ID = "0123456789abcdef" * 2


def without(claim: str) -> dict[str, int]:
    return {name: value for name, value in CLAIMS.items() if name != claim}


@pytest.mark.parametrize("check", TOKEN_ISSUER_CHECKS, ids=lambda check: check.__name__)
async def test_jwt_tokens_pass_the_conformance_checks(check: TokenIssuerCheck) -> None:
    await check(lambda: JwtTokens(secrets.token_bytes(32)))


def test_token_is_an_hs256_jwt_with_three_claims() -> None:
    header, payload, signature = JwtTokens(SECRET).issue(7, NOW).split(".")
    assert urlsafe_b64decode(header + "==") == b'{"alg":"HS256","typ":"JWT"}'
    claims = json.loads(urlsafe_b64decode(payload + "=="))
    assert claims == CLAIMS
    assert {type(value) for value in claims.values()} == {int}
    mac = hmac.digest(SECRET.encode(), f"{header}.{payload}".encode(), "sha256")
    assert signature == base64(mac)


# The control for the refusals below: each token there differs from this by one fault.
def test_token_made_by_hand_is_valid() -> None:
    issued_at = NOW.replace(microsecond=0)
    expected = Claims(7, issued_at, issued_at + timedelta(hours=12))
    assert JwtTokens(SECRET).verify(forge(), NOW) == expected


def test_token_of_a_session_has_its_id_and_lives_for_an_hour() -> None:
    issued_at = NOW.replace(microsecond=0)
    tokens = JwtTokens(SECRET)
    token = tokens.issue(7, NOW, session_id=SESSION_ID)
    expected = Claims(7, issued_at, issued_at + timedelta(hours=1), SESSION_ID)
    assert tokens.verify(token, NOW) == expected
    by_hand = forge(claims=CLAIMS | {"exp": IAT + 3600, "sid": SESSION_ID})
    assert tokens.verify(by_hand, NOW) == expected
    shorter = JwtTokens(SECRET, session_lifetime=timedelta(minutes=5))
    claims = shorter.verify(shorter.issue(7, NOW, session_id=SESSION_ID), NOW)
    assert claims.expires_at == issued_at + timedelta(minutes=5)
    with pytest.raises(ValueError, match="at least one second"):
        JwtTokens(SECRET, session_lifetime=timedelta(milliseconds=999))


HEADERS = {
    "alg none": HEADER | {"alg": "none"},
    "alg None": HEADER | {"alg": "None"},
    "alg empty": HEADER | {"alg": ""},
    "alg null": HEADER | {"alg": None},
    "alg a list": HEADER | {"alg": ["HS256"]},
    "alg in lower case": HEADER | {"alg": "hs256"},
    "alg RS256 over a MAC": HEADER | {"alg": "RS256"},
    "alg HS512 over a MAC of HS256": HEADER | {"alg": "HS512"},
    "no alg": {"typ": "JWT"},
    "no typ": {"alg": "HS256"},
    "typ null": HEADER | {"typ": None},
    "typ in lower case": HEADER | {"typ": "jwt"},
    "typ of another use": HEADER | {"typ": "at+jwt"},
    "crit": HEADER | {"crit": ["exp"]},
    "crit that PyJWT knows": HEADER | {"crit": ["b64"], "b64": True},
    "crit empty": HEADER | {"crit": []},
    "b64": HEADER | {"b64": True},
    "payload not encoded": HEADER | {"crit": ["b64"], "b64": False},
    "kid": HEADER | {"kid": "../../dev/null"},
    "jwk": HEADER | {"jwk": {"kty": "oct", "k": base64(b"x" * 32)}},
    "a list": [HEADER],
    "a string": '"HS256"',
    "no JSON": "{",
    "deep": "[" * 2000,
    "a nested token": forge(),
}
PAYLOADS = {
    "no exp": without("exp"),
    "no iat": without("iat"),
    "no user_id": without("user_id"),
    "one more claim": CLAIMS | {"nbf": IAT},
    "sid null": CLAIMS | {"sid": None},
    "sid a number": CLAIMS | {"sid": 7},
    "sid a list": CLAIMS | {"sid": [SESSION_ID]},
    "sid empty": CLAIMS | {"sid": ""},
    "sid of another form": CLAIMS | {"sid": SESSION_ID.upper()},
    "sid with a line end": CLAIMS | {"sid": SESSION_ID + "\n"},
    "sid in place of user_id": without("user_id") | {"sid": SESSION_ID},
    "another audience": CLAIMS | {"aud": "another service"},
    "exp null": CLAIMS | {"exp": None},
    "exp a string": CLAIMS | {"exp": str(EXP)},
    "exp a float": CLAIMS | {"exp": float(EXP)},
    "exp infinite": CLAIMS | {"exp": float("inf")},
    "exp huge": CLAIMS | {"exp": HUGE},
    "exp after the year 9999": CLAIMS | {"exp": 253_402_300_800},
    "iat true": CLAIMS | {"iat": True},
    "iat a string": CLAIMS | {"iat": str(IAT)},
    "iat a float": CLAIMS | {"iat": float(IAT)},
    "iat hugely negative": CLAIMS | {"iat": -HUGE},
    "iat at exp": CLAIMS | {"iat": IAT + 20, "exp": IAT + 20},
    "iat after exp": CLAIMS | {"iat": IAT + 20, "exp": IAT + 10},
    "user_id true": CLAIMS | {"user_id": True},
    "user_id a string": CLAIMS | {"user_id": "7"},
    "user_id a float": CLAIMS | {"user_id": 7.0},
    "user_id null": CLAIMS | {"user_id": None},
    "user_id 0": CLAIMS | {"user_id": 0},
    "user_id negative": CLAIMS | {"user_id": -7},
    "user_id 2**63": CLAIMS | {"user_id": 2**63},
    "user_id twice": f'{{"user_id":8,"exp":{EXP},"iat":{IAT},"user_id":7}}',
    "exp twice": f'{{"exp":{IAT},"iat":{IAT},"user_id":7,"exp":{EXP}}}',
    "a list": [["exp", EXP], ["iat", IAT], ["user_id", 7]],
    "no JSON": "{",
    "empty": "",
    "deep": "[" * 2000,
    "a nested token": forge(),
}
SIGNED = forge()
FORGED = {
    **{f"header: {fault}": forge(header) for fault, header in HEADERS.items()},
    **{f"claims: {fault}": forge(claims=claims) for fault, claims in PAYLOADS.items()},
    "another key": forge(key=SECRET[::-1]),
    "HS512": forge(HEADER | {"alg": "HS512"}, digest="sha512"),
    "unsigned": forge(HEADER | {"alg": "none"}).rpartition(".")[0] + ".",
    "without its signature": SIGNED.rpartition(".")[0] + ".",
    "padded": SIGNED + "=",
    "ending in a line": SIGNED + "\n",
    "with a space": SIGNED.replace(".", " .", 1),
    "four parts": SIGNED + "." + SIGNED.rpartition(".")[2],
    "in JSON": json.dumps({"payload": SIGNED}),
    "wide letters": SIGNED.replace("e", "ｅ", 1),
    "NUL": SIGNED + "\0",
    "lone surrogate": "\ud800" + SIGNED,
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED)
def test_forged_token_is_refused_without_quoting_it(token: str) -> None:
    with pytest.raises(InvalidToken) as refusal:
        JwtTokens(SECRET).verify(token, NOW)
    assert not refusal.value.args
    assert refusal.value.__context__ is None or refusal.value.__suppress_context__


@given(
    st.text(st.characters()) | st.text(string.ascii_letters + string.digits + "_.=-é١", min_size=1)
)
def test_any_string_raises_only_invalid_token(text: str) -> None:
    with pytest.raises(InvalidToken):
        JwtTokens(SECRET).verify(text, NOW)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["exp", "iat", "user_id", "sub", "sid"]), json_values))
def test_any_signed_claims_raise_only_invalid_token(claims: dict[str, object]) -> None:
    token = forge(claims=claims)
    try:
        verified = JwtTokens(SECRET).verify(token, NOW)
    except InvalidToken:
        return
    assert claims.keys() - {"sid"} == CLAIMS.keys()
    assert verified.user_id == claims["user_id"]


@pytest.mark.parametrize("characters", [4096, 4097])
def test_a_token_has_at_most_4096_characters(characters: int) -> None:
    payload = characters - len(forge(claims=""))
    token = forge(claims=json.dumps(CLAIMS).ljust(payload * 3 // 4))
    assert len(token) == characters
    with pytest.raises(InvalidToken) if characters > 4096 else nullcontext():
        JwtTokens(SECRET).verify(token, NOW)


@pytest.mark.parametrize(
    "now", [datetime(1980, 1, 1, tzinfo=UTC), datetime(2980, 1, 1, tzinfo=UTC)], ids=str
)
def test_verification_uses_the_given_time(now: datetime) -> None:
    tokens = JwtTokens(SECRET)
    assert tokens.verify(tokens.issue(7, now), now).issued_at == now


def test_expired_token_gets_no_clock_skew_allowance() -> None:
    tokens = JwtTokens(SECRET)
    token = tokens.issue(7, NOW)
    expiry = NOW.replace(microsecond=0) + timedelta(hours=12)
    assert tokens.verify(token, expiry - MICROSECOND).expires_at == expiry
    with pytest.raises(InvalidToken):
        tokens.verify(token, expiry)


def test_token_keeps_the_lifetime_it_was_issued_with() -> None:
    token = JwtTokens(SECRET, lifetime=timedelta(seconds=90.5)).issue(7, NOW)
    claims = JwtTokens(SECRET).verify(token, NOW)
    assert claims.expires_at - claims.issued_at == 90 * SECOND


def test_secret_is_encoded_as_utf_8() -> None:
    secret = "ключ из тридцати двух байтов или больше"
    token = JwtTokens(secret).issue(7, NOW)
    assert JwtTokens(secret.encode()).verify(token, NOW).user_id == 7


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "has 0 bytes; HS256 needs 32"),
        ("x" * 31, "has 31 bytes"),
        (b"x" * 31, "has 31 bytes"),
        ("\udcff" * 32, "not valid Unicode"),
        ("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----", "asymmetric"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI me@host", "asymmetric"),
        ('{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}', "JWK"),
    ],
)
def test_bad_secret_is_refused_without_quoting_it(secret: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        JwtTokens(secret)
    assert not secret or str(secret) not in str(refusal.value)


def test_tokens_signed_with_the_old_secret_stay_valid() -> None:
    old, new = "an old secret of 32 bytes or more", "a new secret of 32 bytes or more"
    before, rotated, after = JwtTokens(old), JwtTokens(new, old=old), JwtTokens(new)
    token = before.issue(7, NOW)
    assert rotated.verify(token, NOW).user_id == 7
    with pytest.raises(InvalidToken):
        rotated.verify(token, NOW + timedelta(hours=12))
    with pytest.raises(InvalidToken):
        after.verify(token, NOW)
    for issuer in (rotated, after):
        for judge in (rotated, after):
            assert judge.verify(issuer.issue(7, NOW), NOW).user_id == 7
    with pytest.raises(InvalidToken):
        before.verify(rotated.issue(7, NOW), NOW)
    with pytest.raises(InvalidToken):
        rotated.verify(JwtTokens(SECRET).issue(7, NOW), NOW)


@pytest.mark.parametrize(
    ("old", "reason"),
    [("short", "has 5 bytes"), (SECRET, "secret are the same"), ("", "has 0 bytes")],
)
def test_bad_old_secret_is_refused(old: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        JwtTokens(SECRET, old=old)


@pytest.mark.parametrize("seconds", [0, 0.999, -1])
def test_token_lifetime_is_at_least_one_second(seconds: float) -> None:
    with pytest.raises(ValueError, match="at least one second"):
        JwtTokens(SECRET, lifetime=timedelta(seconds=seconds))
