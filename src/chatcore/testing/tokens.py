"""The promises of a TokenIssuer."""

import string
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone

from chatcore.errors import InvalidToken
from chatcore.model import MAX_INT64
from chatcore.ports import TokenIssuer
from chatcore.testing.expect import accepted, check, expect, expect_equal, refused

NewTokenIssuer = Callable[[], TokenIssuer]
"""Returns an issuer with a new secret at every call."""

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
USER_IDS = (1, 42, 2**31, 2**53 + 1, MAX_INT64)
ALPHABET = string.ascii_letters + string.digits + "-_"


@check
async def claims_are_what_was_issued(new_issuer: NewTokenIssuer) -> None:
    """verify returns the exact user id as an int, the time of issue to the second, and a later
    expiry; both times are aware."""
    issuer = new_issuer()
    for user_id in USER_IDS:
        for now in (NOW, NOW + timedelta(days=3650), NOW + 999_999 * MICROSECOND):
            claims = issuer.verify(issuer.issue(user_id, now), now)
            expect_equal(claims.user_id, user_id, "verify returns the user_id of issue")
            expect(type(claims.user_id) is int, "verify returns the user_id as an int")
            seconds_lost = now - claims.issued_at
            expect(
                timedelta(0) <= seconds_lost < timedelta(seconds=1),
                "verify returns the now of issue as issued_at",
            )
            expect(claims.expires_at > now, "verify: expires_at is after the issue")


@check
async def a_token_names_its_session(new_issuer: NewTokenIssuer) -> None:
    """verify returns the session id that issue got, or None, beside the other claims."""
    issuer = new_issuer()
    for session_id in (None, "0" * 32, "0123456789abcdef" * 2):
        token = issuer.issue(42, NOW, session_id=session_id)
        expect(all("!" <= it <= "~" for it in token), "issue returns visible ASCII")
        claims = issuer.verify(token, NOW)
        expect_equal(claims.session_id, session_id, "verify: session_id")
        expect_equal(claims.user_id, 42, "verify: user_id")
        expect(claims.issued_at <= NOW < claims.expires_at, "verify: times of a session's token")
        with refused(InvalidToken, "verify at expires_at"):
            issuer.verify(token, claims.expires_at)


@check
async def a_token_is_visible_ascii(new_issuer: NewTokenIssuer) -> None:
    """issue returns visible ASCII, which fits in a header unencoded."""
    issuer = new_issuer()
    for user_id in USER_IDS:
        token = issuer.issue(user_id, NOW)
        expect(
            token and all("!" <= it <= "~" for it in token),
            f"issue returns visible ASCII, not {token!a}",
        )


@check
async def a_token_is_valid_until_it_expires(new_issuer: NewTokenIssuer) -> None:
    """A token is valid before `expires_at`, and invalid from then on."""
    issuer = new_issuer()
    token = issuer.issue(42, NOW)
    claims = issuer.verify(token, NOW)
    for now in (
        NOW + (claims.expires_at - NOW) / 2,
        claims.expires_at - timedelta(seconds=1),
        claims.expires_at - MICROSECOND,
    ):
        with accepted(f"verify at {now}, before expires_at,"):
            found = issuer.verify(token, now)
        expect_equal(found, claims, "verify always returns the same claims")
    for now in (
        claims.expires_at,
        claims.expires_at + MICROSECOND,
        claims.expires_at + timedelta(days=10_000),
    ):
        with refused(InvalidToken, f"verify at {now}, from expires_at on,"):
            issuer.verify(token, now)


@check
async def a_token_may_be_dated_ahead(new_issuer: NewTokenIssuer) -> None:
    """verify accepts a token that was issued at a time after `now`: the clocks of two nodes differ,
    and Accounts dates tokens to the last change. Accounts decides how far ahead is too far."""
    issuer = new_issuer()
    for session_id in (None, "0" * 32):
        token = issuer.issue(42, NOW, session_id=session_id)
        claims = issuer.verify(token, NOW)
        for ahead in (timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)):
            with accepted(f"verify of a token that is dated {ahead} ahead"):
                found = issuer.verify(token, NOW - ahead)
            expect_equal(found, claims, "verify of a token that is dated ahead")


@check
async def time_zones_make_no_difference(new_issuer: NewTokenIssuer) -> None:
    """issue and verify accept `now` in any time zone."""
    issuer = new_issuer()
    claims = issuer.verify(issuer.issue(42, NOW), NOW)
    for hours in (-12, 14):
        zone = timezone(timedelta(hours=hours))
        token = issuer.issue(42, NOW.astimezone(zone))
        near = (claims.expires_at - MICROSECOND).astimezone(zone)
        for now in (NOW, NOW.astimezone(zone), near):
            with accepted(f"verify at {now}"):
                found = issuer.verify(token, now)
            expect_equal(found, claims, "verify of a token issued at the same moment")
        with refused(InvalidToken, "verify of an expired token"):
            issuer.verify(token, claims.expires_at.astimezone(zone))


@check
async def an_altered_token_is_refused(new_issuer: NewTokenIssuer) -> None:
    """verify refuses a token altered at any character, except for another spelling of the same
    bytes; base64 has at most 16."""
    issuer = new_issuer()
    token = issuer.issue(42, NOW)
    claims = issuer.verify(token, NOW)
    for place, letter in enumerate(token):
        accepted = 0
        for other in ALPHABET.replace(letter, ""):
            try:
                found = issuer.verify(token[:place] + other + token[place + 1 :], NOW)
            except InvalidToken:
                continue
            expect_equal(found, claims, "verify of another spelling of the token")
            accepted += 1
        expect(
            accepted < 16, f"verify refuses a token altered at character {place} of {len(token)}"
        )
    for end in range(len(token)):
        with refused(InvalidToken, f"verify of the first {end} characters of a token"):
            issuer.verify(token[:end], NOW)


@check
async def a_token_of_another_issuer_is_refused(new_issuer: NewTokenIssuer) -> None:
    """verify refuses a token that was issued with another secret."""
    issuer, other = new_issuer(), new_issuer()
    for one, its_other in ((issuer, other), (other, issuer)):
        with refused(InvalidToken, "verify of a token of another issuer"):
            one.verify(its_other.issue(42, NOW), NOW)


@check
async def a_malformed_token_is_refused(new_issuer: NewTokenIssuer) -> None:
    """verify of any malformed string raises InvalidToken and nothing else."""
    issuer = new_issuer()
    token = issuer.issue(42, NOW)
    unsigned = _base64('{"alg":"none","typ":"JWT"}'), _base64('{"user_id":42,"exp":9999999999}')
    for garbage in (
        *("", " ", ".", "..", "...", "a.b.c", "null", "0", "=", "==.==.==", "\0", "\n"),
        *("Bearer " + token, token + "." + token, token.replace(".", ""), token[::-1]),
        *("ключ", "é" + token, token + "é", "\ud800", token + "\ud800", "😀.😀.😀"),
        *("x" * 1_000_000, "." * 100_000, token + "A" * 1_000_000, token + "\0"),
        *(".".join((*unsigned, "")), ".".join((*unsigned, token.rpartition(".")[2]))),
        *(_base64(head) + ".e30.AA" for head in ("[" * 3000, "[" * 100_000, '{"alg":' * 1000)),
        *(_base64(head) + ".e30.AA" for head in ("9" * 5000, "NaN", "[]", '"x"', '{"alg":[]}')),
        urlsafe_b64encode(b"\xff\xfe").decode() + ".e30.AA",
    ):
        with refused(InvalidToken, f"verify of {garbage!a:.60}"):
            issuer.verify(garbage, NOW)


def _base64(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


TokenIssuerCheck = Callable[[NewTokenIssuer], Awaitable[None]]

TOKEN_ISSUER_CHECKS: tuple[TokenIssuerCheck, ...] = (
    claims_are_what_was_issued,
    a_token_names_its_session,
    a_token_is_visible_ascii,
    a_token_is_valid_until_it_expires,
    a_token_may_be_dated_ahead,
    time_zones_make_no_difference,
    an_altered_token_is_refused,
    a_token_of_another_issuer_is_refused,
    a_malformed_token_is_refused,
)
