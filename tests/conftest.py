import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """asyncio alone: no adapter promises trio."""
    return "asyncio"
