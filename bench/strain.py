"""How one load affects another: a slow disk, a login storm, a huge history."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import load
from bench.cells import HISTORY, LOGIN, SEND, WHOLE
from bench.data import Data
from bench.servers import Server, chatcore, make_chatcore_data

SYNC_DELAY_US = 3000


@dataclass
class Finding:
    """A sentence of the report, and whether its promise was kept."""

    text: str
    kept: bool


def slow_disk(folder: Path, data: Data, seconds: float) -> Finding:
    """The p99 of history at 8 clients while 16 send, with and without a sync delay of 3 ms."""
    if shutil.which("cc") is None:
        return Finding("Slow disk: not measured; there is no C compiler (`cc`).", True)
    library = folder / "slow_sync.so"
    source = Path(__file__).with_name("slow_sync.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    database = make_chatcore_data(_new(folder, "slow"), data)
    found = []
    for delay in (0, SYNC_DELAY_US):
        with chatcore(database, LD_PRELOAD=str(library), SYNC_DELAY_US=str(delay)) as server:
            best = []
            for _ in range(3):
                sends = load.start(SEND.job(server.port, 16, seconds, data.tokens()))
                reads = load.run(HISTORY.job(server.port, 8, seconds * 0.8, data.tokens()))
                best.append((reads.p99_ms, reads.p50_ms, load.wait(sends).rate))
            found.append(sorted(best)[1])
    (calm, calm_p50, calm_sends), (slow, slow_p50, slow_sends) = found
    return Finding(
        f"Slow disk: with every sync delayed by {SYNC_DELAY_US / 1000:.0f} ms, history of 50 at "
        f"8 clients, while 16 send, takes p50 {slow_p50:.1f} ms and p99 {slow:.1f} ms, against "
        f"{calm_p50:.1f} ms and {calm:.1f} ms without delay ({slow / calm:.2f} times; promised: at "
        f"most 2); the senders get {slow_sends:,.0f} durable sends a second, against "
        f"{calm_sends:,.0f}.",
        slow <= 2 * calm,
    )


def login_storm(folder: Path, data: Data, seconds: float) -> Finding:
    """The effect of 200 simultaneous logins on history at 8 clients."""
    database = make_chatcore_data(_new(folder, "storm"), data)
    with chatcore(database) as server:
        history = HISTORY.job(server.port, 8, seconds, data.tokens())
        load.run(history)
        calm = load.run(history)
        before = server.memory()
        with _highest_memory(server) as highest:
            storm = LOGIN.job(server.port, 200, seconds, {})
            storm.once = True
            logins = load.start(storm)
            stormy = load.run(history)
            outcome = load.wait(logins)
    grown = (highest[0] - before) / 2**20
    # 429 if the limit on login attempts is reached first.
    refused = outcome.statuses.get("503", 0) + outcome.statuses.get("429", 0)
    served = outcome.statuses.get("200", 0)
    return Finding(
        f"Login storm: of 200 simultaneous logins {served} got a token and {refused} a 503 or a "
        f"429 with Retry-After; during the storm, history of 50 at 8 clients took p50 "
        f"{stormy.p50_ms:.1f} ms and p99 {stormy.p99_ms:.1f} ms, against {calm.p50_ms:.1f} ms and "
        f"{calm.p99_ms:.1f} ms before it ({stormy.p99_ms / calm.p99_ms:.2f} times; promised: "
        f"at most 3), at {stormy.rate:,.0f} requests a second against {calm.rate:,.0f}; "
        f"memory rose by {grown:.0f} MiB (promised: at most 100).",
        stormy.p99_ms <= 3 * calm.p99_ms and grown <= 100 and served + refused == 200,
    )


def huge_history(folder: Path, seconds: float) -> Finding:
    """The effect of streaming a history of 200,000 messages on 8 clients that read pages."""
    data = Data(archive=200_000)
    database = make_chatcore_data(_new(folder, "huge"), data)
    with chatcore(database) as server:
        pages = HISTORY.job(server.port, 8, seconds, data.tokens())
        load.run(pages)
        calm = load.run(pages)
        before = server.memory()
        with _highest_memory(server) as highest:
            whole = load.start(WHOLE.job(server.port, 1, seconds * 0.8, data.tokens()))
            busy = load.run(pages)
            streamed = load.wait(whole)
    grown = (highest[0] - before) / 2**20
    later = busy.p99_ms - calm.p99_ms
    return Finding(
        f"Huge history: streaming 200,000 messages ({streamed.ok} times in a row, "
        f"{streamed.p50_ms:,.0f} ms each) raised the server's memory by {grown:.1f} MiB "
        f"(promised: less than 10) and the p99 of history of 50 at 8 clients from "
        f"{calm.p99_ms:.1f} ms to {busy.p99_ms:.1f} ms (promised: at most 5 ms more).",
        grown < 10 and later <= 5,
    )


def _new(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


@contextmanager
def _highest_memory(server: Server) -> Iterator[list[int]]:
    highest = [server.memory()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            highest[0] = max(highest[0], server.memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield highest
    finally:
        done.set()
        watcher.join()
