"""The metrics of a service, readable on their own address only."""

import socket
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chatcore import Overloaded
from chatcore_memory import InsecureTestHasher
from chatcore_server.app import open_app
from chatcore_server.observe.counting import CountedHasher, Requests
from chatcore_server.settings import CannotStart, Settings
from tests.support.clients import client_at, get
from tests.support.service import QuickService

PASSWORD = "correct horse battery"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def scraped(port: int) -> Samples:
    answer = get(f"http://127.0.0.1:{port}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def requests_of(samples: Samples) -> dict[str, float]:
    """Request counts by method, route and status."""
    return {
        " ".join(labels[name] for name in ("method", "route", "status")): value
        for (sample, pairs), value in samples.items()
        if sample == "chatcore_requests_total" and (labels := dict(pairs))
    }


def test_metrics_count_what_the_service_did(tmp_path: Path) -> None:
    port = free_port()
    with (
        QuickService(tmp_path, metrics=f"127.0.0.1:{port}") as service,
        client_at(service.url) as http,
    ):
        for name in ("ann", "bob"):
            http.post("/register", json={"username": name, "password": PASSWORD})
        answer = http.post("/login", json={"username": "ann", "password": PASSWORD})
        bearer = {"authorization": f"Bearer {answer.json()['token']}"}
        http.post("/chat/bob", headers=bearer)
        for _ in range(3):
            headers = {**bearer, "idempotency-key": "k"}
            http.post("/chats/bob/messages", headers=headers, json={"message": "hello"})
        for n in range(50):
            http.get(f"/made-up/{n}")
        accepting = {**bearer, "accept": "text/event-stream"}
        with http.stream("GET", "/v1/events", headers=accepting) as stream:
            assert stream.status_code == 200
            metrics = scraped(port)
        # The address of the service does not serve the metrics.
        refused = http.get("/metrics")
        assert (refused.status_code, refused.json()) == (404, {"error": "Not Found"})
    requests = requests_of(metrics)
    assert requests["POST /register 201"] == 2
    assert requests["POST /chats/{user_name}/messages 201"] == 3
    # Unknown paths create no labels.
    assert requests["GET none 404"] == 50
    assert len(requests) < 10
    sends = ("method", "POST"), ("route", "/chats/{user_name}/messages")
    assert metrics["chatcore_request_seconds_count", sends] == 3
    assert metrics["chatcore_request_seconds_bucket", (("le", "+Inf"), *sends)] == 3
    # Two users, a chat, three messages, each counted separately.
    assert metrics["chatcore_batch_size_sum", ()] == 6
    assert metrics["chatcore_batch_size_bucket", (("le", "1.0"),)] == 6
    for name, value in {
        "chatcore_messages_replayed_total": 2,
        "chatcore_doorbell_rings_total": 2,
        "chatcore_passwords_total": 3,
        "chatcore_passwords_waiting": 0,
        "chatcore_passwords_refused_total": 0,
        "chatcore_connections_refused_total": 0,
        "chatcore_writes_waiting": 0,
        "chatcore_streams": 1,
    }.items():
        assert metrics[name, ()] == value, name
    assert metrics["process_resident_memory_bytes", ()] > 1e6


async def test_metrics_address_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(
            database_url=f"sqlite:///{tmp_path}/chatcore.db", metrics=taken.getsockname()
        )
        with pytest.raises(CannotStart, match=r"^cannot listen on port [^\n]*$"):
            async with open_app(settings):
                pass


def test_metrics_address_is_parsed() -> None:
    for raw, address in {"127.0.0.1:9464": ("127.0.0.1", 9464), "[::1]:1": ("::1", 1)}.items():
        assert Settings.read({"CHATCORE_METRICS": raw}, {}).metrics == address
    for raw in ("", "on", "9464", ":9464", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536"):
        with pytest.raises(CannotStart, match=r"CHATCORE_METRICS is .*expected address:port"):
            Settings.read({"CHATCORE_METRICS": raw}, {})
    settings = Settings(metrics=("127.0.0.1", 9464))
    assert [settings.of_worker(n).metrics for n in range(2)] == [
        ("127.0.0.1", 9464),
        ("127.0.0.1", 9465),
    ]


async def test_worker_ports_beyond_the_last_port_are_refused(tmp_path: Path) -> None:
    settings = Settings(
        database_url=f"sqlite:///{tmp_path}/chatcore.db", metrics=("127.0.0.1", 65535)
    )
    with pytest.raises(CannotStart, match="there is no port 65536 for metrics"):
        async with open_app(settings.of_worker(1)):
            pass


async def test_failed_requests_are_counted() -> None:
    requests = Requests()

    async def failing(scope: object, receive: object, send: object) -> None:
        raise ZeroDivisionError

    counted = requests.counted(failing)
    for method in ("GET", "BREW", "BREW2"):
        with pytest.raises(ZeroDivisionError):
            await counted({"type": "http", "method": method}, None, None)
    assert {labels: cell.number for labels, cell in requests.cells.items()} == {
        ("none", "GET", 0): 1,
        ("none", "other", 0): 2,
    }


async def test_refused_passwords_are_counted() -> None:
    class Full(InsecureTestHasher):
        async def hash(self, password: str) -> str:
            raise Overloaded

    hasher = CountedHasher(Full())
    with pytest.raises(Overloaded):
        await hasher.hash("password")
    assert (hasher.waiting, hasher.done, hasher.refused) == (0, 0, 1)
