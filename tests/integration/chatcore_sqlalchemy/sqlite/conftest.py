"""The stores of these tests are on SQLite."""

from pathlib import Path

import pytest

from tests.integration.chatcore_sqlalchemy.places import Place


@pytest.fixture
def place(path: Path) -> Place:
    return Place(f"sqlite:///{path}")
