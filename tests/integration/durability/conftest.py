"""A service on a disk that can be made to fail."""

import os
import sys
from pathlib import Path

import pytest

from tests.integration.durability.vfs import Unsupported, layered
from tests.support.repository import ROOT
from tests.support.service import CommandService, Service


@pytest.fixture(scope="session")
def reachable_sqlite() -> None:
    """Skip where nothing can be put between SQLite and its files."""
    try:
        with layered(lambda _, proceed: proceed()):
            pass
    except Unsupported as reason:
        pytest.skip(str(reason))


@pytest.fixture
def observed_service(
    reachable_sqlite: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Service:
    """A service under observed_service.py, not started yet."""
    module = "tests.integration.durability.observed_service"
    command = [sys.executable, "-m", module, str(tmp_path)]
    monkeypatch.setattr("tests.support.service.COMMAND", command)
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    return CommandService(tmp_path)
