"""The service with cheap password hashes, for tests to which hashing is only a cost."""

import sys

import pytest

from tests.support import service

COMMAND = [
    sys.executable,
    "-c",
    "import sys\n"
    "from chatcore_argon2 import Argon2Hasher\n"
    "from chatcore_server.cli import main\n"
    "Argon2Hasher.__init__.__kwdefaults__.update(time_cost=1, memory_cost=8)\n"
    "sys.exit(main())\n",
]


class QuickService(service.Service):
    """`Service` with other hash parameters; everything else is what users start."""

    def start(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(service, "COMMAND", COMMAND)
            super().start()
