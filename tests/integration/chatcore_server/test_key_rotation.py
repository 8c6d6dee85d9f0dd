"""Rotating the signing key: tokens of the old key stay valid until they expire."""

from itertools import pairwise
from pathlib import Path

import pytest

from chatcore import InvalidToken
from chatcore.model import utc_now
from chatcore_jwt import JwtTokens
from chatcore_server.secret import tokens_of
from chatcore_server.settings import CannotStart
from tests.support.api import Someone, api_at
from tests.support.service import QuickService

OLD, NEW = "an old key: thirty-two bytes, it has", "a new key, of thirty-two bytes or more"


async def test_tokens_survive_a_key_rotation(tmp_path: Path) -> None:
    with QuickService(tmp_path, secret=OLD) as service:
        async with api_at(service.url) as api:
            await api.register("ann")
            old = Someone("ann", (await api.log_in("ann")).json()["token"])
        service.settings["secret"] = f"new:{NEW},old:{OLD}"
        service.restart()
        async with api_at(service.url) as api:
            assert (await api.call("GET", "/v1/me", old)).status_code == 200
            new = Someone("ann", (await api.log_in("ann")).json()["token"])
            assert (await api.call("GET", "/v1/me", new)).status_code == 200
        assert service.stop() == 0
        for secret in (OLD, NEW):
            assert secret not in service.log()
    # The next service has the new key alone.
    assert JwtTokens(NEW).verify(new.token, utc_now()).user_id == 1
    with pytest.raises(InvalidToken):
        JwtTokens(NEW).verify(old.token, utc_now())


def test_in_three_steps_every_node_accepts_the_tokens_of_every_other() -> None:
    """As docs/running.md changes the key of several nodes: each is one step behind, or at it."""
    now = utc_now()
    steps = (OLD, f"new:{OLD},old:{NEW}", f"new:{NEW},old:{OLD}", NEW)
    for pair in pairwise(map(tokens_of, steps)):
        for signs in pair:
            for verifies in pair:
                assert verifies.verify(signs.issue(7, now), now).user_id == 7
    # Without the first step, nodes still on the old key would refuse those of the new one.
    with pytest.raises(InvalidToken):
        tokens_of(OLD).verify(tokens_of(f"new:{NEW},old:{OLD}").issue(7, now), now)


@pytest.mark.parametrize("secret", [OLD, "a,b c\n" * 8, "x:new:y,old:z" * 4, "old," * 8])
def test_secret_without_the_rotation_form_is_one_key(secret: str) -> None:
    now = utc_now()
    assert JwtTokens(secret).verify(tokens_of(secret).issue(7, now), now).user_id == 7


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (f"new:{NEW}", "one key, or new:KEY,old:KEY"),
        (f"old:{OLD},new:{NEW}", "one key, or new:KEY,old:KEY"),
        (f"new:{NEW},old:", "old key, cannot be used: the secret has 0 bytes"),
        (f"new:short,old:{OLD}", "new key, cannot be used: the secret has 5 bytes"),
        (f"new:{NEW},old:{NEW}", "secret are the same"),
        ("short", "CHATCORE_SECRET cannot be used: the secret has 5 bytes"),
    ],
)
def test_invalid_pair_of_keys_is_refused_without_being_shown(secret: str, reason: str) -> None:
    with pytest.raises(CannotStart, match=reason) as refusal:
        tokens_of(secret)
    assert OLD not in str(refusal.value)
    assert NEW not in str(refusal.value)
