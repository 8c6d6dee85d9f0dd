"""A real Chromium and a real service for the tests of the page.

The browser is the system's own; nothing is downloaded. Without one, the tests that need it are
skipped.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.page.people import HOST, SECONDS, Contexts, People
from tests.support.service import QuickService, Service

# The headless shell is the same browser without its window: a test costs a third less.
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
HINT = "the page is tested in a Chromium, and there is none: apt install chromium-headless-shell"


# For this folder only: while Playwright runs, its event loop counts as the running loop of this
# thread, and coroutine tests could not start theirs.
@pytest.fixture(scope="package")
def contexts() -> Iterator[Contexts]:
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(HINT)
    api = pytest.importorskip("playwright.sync_api", reason="Playwright has no wheel for this")
    with api.sync_playwright() as playwright:
        # All pages of a context share a process: starting one costs more than most tests.
        arguments = [f"--host-resolver-rules=MAP {HOST} 127.0.0.1", "--process-per-site"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        browser = playwright.chromium.launch(
            executable_path=program, args=arguments, timeout=SECONDS * 1000
        )
        yield Contexts(browser)
        browser.close()


@pytest.fixture(scope="package")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that many tests share, each with users of its own."""
    with QuickService(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    """A service to stop, start and break."""
    with QuickService(tmp_path) as running:
        yield running


# Users leave before their service stops: fixtures end in reverse order. An open browser reports a
# stopped service as an error.


@pytest.fixture
def people(contexts: Contexts, shared_service: Service) -> Iterator[People]:
    """At the end, the complaints of their browsers fail the test."""
    gathered = People(contexts, shared_service)
    yield gathered
    gathered.leave()


@pytest.fixture
def own_people(contexts: Contexts, own_service: Service) -> Iterator[People]:
    """The users of `own_service`."""
    gathered = People(contexts, own_service)
    yield gathered
    gathered.leave()
