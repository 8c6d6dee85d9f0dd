"""The example of the plugin under a real server: customers chat, and a stop ends their streams."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import httpx

from tests.support.repository import ROOT
from tests.support.uvicorn_process import UvicornProcess

SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


@contextmanager
def logged_in(server: UvicornProcess, customer: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers=SAME_ORIGIN, timeout=60) as client:
        assert client.post(f"/login/{customer}").status_code == 204
        yield client


def test_customers_chat_and_a_stop_ends_their_streams(tmp_path: Path) -> None:
    with (
        UvicornProcess("litestar_plugin:app", tmp_path) as server,
        logged_in(server, 17) as buyer,
        logged_in(server, 42) as seller,
    ):
        assert httpx.get(f"{server.url}/chat/v1/sync", timeout=60).status_code == 401
        foreign = {"sec-fetch-site": "cross-site"}
        chat_id = buyer.post("/orders/42").json()["chat_id"]
        messages = f"/chat/v1/chats/{chat_id}/messages"
        refused = seller.post(messages, json={"text": "no"}, headers=foreign)
        assert refused.status_code == 403
        assert seller.post(messages, json={"text": "Tomorrow."}).status_code == 201
        page = buyer.get(messages).json()["messages"]
        assert [(each["sender"], each["handle"], each["text"]) for each in page] == [
            ("Ann", "17", "I have ordered. When will it arrive?"),
            ("Ann", "42", "Tomorrow."),
        ]

        accept = {"accept": "text/event-stream"}
        with buyer.stream("GET", "/chat/v1/events", headers=accept) as stream:
            lines = stream.iter_lines()
            assert json.loads(next(lines).removeprefix("data: "))["type"] == "start"
            # uvicorn waits for the stream, which its client keeps open.
            server.signal(signal.SIGTERM)
            frames = (json.loads(line[6:]) for line in lines if line.startswith("data: "))
            # A stream that goes on has a heartbeat every 15 s.
            found = list(islice(frames, 5))
        assert found[-1] == {"type": "end", "reason": "shutdown"}
        assert server.wait() == -signal.SIGTERM
        assert "Application shutdown complete" in server.log()

    # The command line of Litestar finds the commands of the plugin.
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "litestar", "--app-dir", f"{ROOT / 'examples'}"),
            *("--app", "litestar_plugin:app", "chat", "check"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert (checked.returncode, checked.stdout.splitlines()[-1]) == (
        0,
        "No faults in 2 users, 1 chats, 2 messages, 6 events",
    ), checked.stderr
