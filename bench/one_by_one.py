"""chatcore on PostgreSQL without group commit: each message is a separate transaction, on one of
several connections.

`CHATCORE_DATABASE_URL=postgresql://… python -m bench.one_by_one PORT`
"""

import os
import signal
import sys
import threading
from functools import partial

from bench.postgres import CONNECTIONS
from chatcore import Sent
from chatcore_server.serving import server
from chatcore_server.settings import Settings
from chatcore_sqlalchemy.group_commit import Append
from chatcore_sqlalchemy.postgres import database as postgres
from chatcore_sqlalchemy.postgres.batch import LOCK, append_and_hold


class OneByOne(postgres.PostgresDatabase):
    async def append(self, append: Append) -> Sent:
        appending = partial(append_and_hold, schema=self.schema, batch=[append], lock=LOCK)
        ([outcome], _) = await self._pool.transact(appending)
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, Sent)
        return outcome


if __name__ == "__main__":
    postgres.CONNECTIONS = int(os.environ.get("BENCH_CONNECTIONS", CONNECTIONS))
    postgres.PostgresDatabase = OneByOne  # type: ignore[misc]
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    settings = Settings.read(os.environ, {"port": sys.argv[1]})
    server.serve(settings, stopping, lambda _: None)
