"""What every test shares."""

import os

import pytest
from hypothesis import settings

# No deadline: on a busy machine one slow example would fail a test that proves nothing about speed.
settings.register_profile("short", deadline=None, print_blob=True)
settings.register_profile("soak", deadline=None, print_blob=True, max_examples=10_000)
settings.load_profile("soak" if os.environ.get("CHATCORE_SOAK") == "1" else "short")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio alone: no adapter promises trio."""
    return "asyncio"
