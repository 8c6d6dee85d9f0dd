"""The parts of `make bench` that could produce a wrong figure."""

import math
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from bench.cells import HISTORY, LIGHT, MEASURED
from bench.data import SECRET, Data, fill
from bench.load import Outcome
from bench.ready_made import bare, ceiling
from bench.report import Row, cpu_table
from bench.servers import Server
from chatcore import Accounts, Messenger
from chatcore_argon2 import Argon2Hasher
from chatcore_jwt import JwtTokens
from chatcore_litestar import create_app
from chatcore_sqlalchemy import SqlAlchemyStore

COMPUTES_IN_A_THREAD = """
import threading, time
def compute():
    while time.process_time() < 0.3:
        pass
thread = threading.Thread(target=compute)
thread.start()
thread.join()
print(time.process_time(), flush=True)
input()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc, which Linux has")
def test_cpu_time_covers_all_threads_for_any_program_name(tmp_path: Path) -> None:
    program = tmp_path / "a) b ("
    program.symlink_to(sys.executable)
    command = [str(program), "-c", COMPUTES_IN_A_THREAD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        used = float(process.stdout.readline())
        assert f"({program.name})" in Path(f"/proc/{process.pid}/stat").read_text()
        assert Server("", 0, process.pid).cpu_seconds() == pytest.approx(used, abs=0.05)
        process.communicate(b"\n")


def test_unreadable_cpu_time_is_a_dash() -> None:
    no_process = 2**31 - 1
    assert math.isnan(Server("", 0, no_process).cpu_seconds())
    outcome = Outcome(requests=10, ok=10, statuses={}, seconds=1, p50_ms=1, p99_ms=1)
    row = Row(HISTORY.name, 64, {"chatcore": [outcome], "bare": [outcome]})
    assert cpu_table([row]).endswith("| history of 50 | 64 | – | – | – | **–** | – | **–** | – |")


def test_cpu_time_is_compared_round_by_round() -> None:
    def rounds(*cpu_seconds: float) -> list[Outcome]:
        return [Outcome(10, 10, {}, 1, 1, 1, seconds) for seconds in cpu_seconds]

    row = Row(HISTORY.name, 64, {"chatcore": rounds(3, 40, 5), "bare": rounds(1, 10, 5)})
    assert row.cpu_us("chatcore") == 500_000
    assert row.cpu_ratio("chatcore", "bare") == 3


async def test_fixed_answers_are_as_long_as_those_of_chatcore(tmp_path: Path) -> None:
    data = Data(archive=500)
    tokens = data.tokens()
    async with (
        Argon2Hasher() as hasher,
        await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/chat.db") as store,
    ):
        await fill(store, data)
        accounts = Accounts(store, hasher, JwtTokens(SECRET))
        apps = {
            "chatcore": create_app(accounts, Messenger(store)),
            "ceiling": await ceiling(data),
            "bare": await bare(data),
        }
        answers: dict[str, dict[str, tuple[int, int]]] = {}
        for name, app in apps.items():
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                answers[name] = {}
                for cell in MEASURED.get(name, MEASURED["ceiling"]):
                    answer = await client.request(
                        cell.method,
                        cell.path.format(client=0),
                        content=cell.body,
                        headers={"authorization": f"Bearer {tokens[cell.users[0]]}"},
                    )
                    answers[name][cell.name] = answer.status_code, len(answer.content)
    assert answers["ceiling"] == answers["chatcore"]
    assert answers["bare"].items() <= answers["chatcore"].items()
    assert set(answers["bare"]) == {cell.name for cell in LIGHT}
