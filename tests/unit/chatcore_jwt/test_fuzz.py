"""Broken tokens: only tokens issued here verify, with their own claims."""

from datetime import UTC, datetime

from chatcore import InvalidToken
from chatcore_jwt import JwtTokens
from tests.support.fuzzing import mutations

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_broken_tokens_are_refused(seed: int) -> None:
    """A token that verifies carries the claims of a token issued here."""
    tokens, others = JwtTokens("k" * 32), JwtTokens("o" * 32)
    good = [tokens.issue(user_id, NOW).encode() for user_id in (1, 7, 2**63 - 1)]
    issued = {tokens.verify(token.decode(), NOW) for token in good}
    for raw in mutations(seed, *good, others.issue(1, NOW).encode()):
        try:
            claims = tokens.verify(raw.decode("latin-1"), NOW)
        except InvalidToken:
            continue
        assert claims in issued
