"""What the tests of durability stand on."""

import os
import sys
from pathlib import Path

import pytest

# Before their import: so that what they assert is explained when it fails.
pytest.register_assert_rewrite(
    "tests.integration.durability.crowd", "tests.integration.durability.load"
)

from tests.integration.durability.vfs import Unsupported, layered  # noqa: E402
from tests.support.repository import ROOT  # noqa: E402
from tests.support.service import QuickService, Service  # noqa: E402


@pytest.fixture(scope="session")
def reachable_sqlite() -> None:
    """Skips where nothing can be put between SQLite and its files."""
    try:
        with layered(lambda _, proceed: proceed()):
            pass
    except Unsupported as reason:
        pytest.skip(str(reason))


@pytest.fixture
def observed_service(
    reachable_sqlite: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Service:
    """A service, not started yet, under observed_service.py."""
    module = "tests.integration.durability.observed_service"
    command = [sys.executable, "-m", module, str(tmp_path)]
    monkeypatch.setattr("tests.support.service.COMMAND", command)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    return QuickService(tmp_path)
