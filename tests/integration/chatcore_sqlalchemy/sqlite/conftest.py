"""The stores of these tests are on SQLite."""

from pathlib import Path

import pytest


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"
