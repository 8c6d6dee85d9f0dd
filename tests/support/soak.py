"""The long run, `make soak`: each of its long checks has a shorter relative in `make test`."""

import os

import pytest

SOAK = os.environ.get("CHATCORE_SOAK") == "1"

soak_only = pytest.mark.skipif(not SOAK, reason="takes long: make soak")

long = pytest.mark.long
"""Takes a minute or more in `make soak`, which starts it before the quick tests."""

alone = pytest.mark.alone
"""Measures the machine itself: `make soak` runs it alone."""
