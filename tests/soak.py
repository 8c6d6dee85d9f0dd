"""What `make soak` alone runs: each of them has a shorter relative in `make test`."""

import os

import pytest

SOAK = os.environ.get("CHATCORE_SOAK") == "1"

soak_only = pytest.mark.skipif(not SOAK, reason="takes long: make soak")
