"""What every unit test shares."""

import random
from collections.abc import Callable

import pytest

from tests.support.virtual_time import BACKEND


@pytest.fixture(scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """The event loop of a module's tests: of virtual time if the module is marked so."""
    return BACKEND if request.node.get_closest_marker("virtual_time") else "asyncio"


@pytest.fixture
def seed(record_property: Callable[[str, object], None]) -> int:
    """A new seed each time, shown when the test fails."""
    drawn = random.SystemRandom().getrandbits(32)
    record_property("seed", drawn)
    print(f"seed {drawn}")  # noqa: T201
    return drawn
