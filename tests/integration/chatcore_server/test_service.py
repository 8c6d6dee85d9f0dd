"""The running service: keys, logs, limits and shutdown."""

import json
import re
import resource
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.support.clients import client_at, get
from tests.support.service import (
    COMMAND,
    STOP_SECONDS,
    QuickService,
    Service,
    environment,
    memory_of,
    run,
)
from tests.support.soak import SOAK, soak_only

PASSWORD = "correct horse battery"
TEXT = "for your eyes only"

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs /proc, which Linux has"
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with QuickService(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service shared by tests that do not stop it."""
    with QuickService(tmp_path_factory.mktemp("shared")) as started:
        yield started


@contextmanager
def client(service: Service) -> Iterator[httpx.Client]:
    with client_at(service.url) as opened:
        yield opened


def register(http: httpx.Client, name: str) -> dict[str, str]:
    """The Authorization header of the new user."""
    account = {"username": name, "password": PASSWORD}
    assert http.post("/register", json=account).status_code == 201
    return {"Authorization": "Bearer " + http.post("/login", json=account).json()["token"]}


def a_chat(http: httpx.Client) -> dict[str, str]:
    """Ann's headers; she has a chat with bob."""
    register(http, "bob")
    ann = register(http, "ann")
    assert http.post("/chat/bob", headers=ann).status_code == 201
    return ann


# Keys


def test_tokens_survive_a_restart_and_the_move_of_the_key_to_the_secret(
    service: Service,
) -> None:
    key = service.folder / "chatcore.db.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with client(service) as http:
        ann = register(http, "ann")
        before = key.read_text()
        service.restart()
        assert key.read_text() == before
        assert http.get("/chats", headers=ann).status_code == 200
        service.settings["secret"] = before.strip()
        key.unlink()
        service.restart()
        assert http.get("/chats", headers=ann).status_code == 200
        assert not key.exists()


@pytest.mark.parametrize("left", ["nothing", pytest.param("an empty database", marks=soak_only)])
def test_tokens_are_invalid_after_the_database_is_replaced(left: str, service: Service) -> None:
    with client(service) as http:
        ann = register(http, "ann")
        service.stop()
        service.database_path.unlink()
        if left == "an empty database":
            with closing(sqlite3.connect(service.database_path)) as empty:
                empty.execute("VACUUM")
            assert service.database_path.stat().st_size > 0
        service.start()
        # Another user has ann's id now.
        bob = register(http, "bob")
        assert http.get("/chats", headers=bob).status_code == 200
        assert http.get("/chats", headers=ann).status_code == 401


def test_migrate_discards_the_key_of_a_former_database(tmp_path: Path) -> None:
    key = tmp_path / "chatcore.db.key"
    key.write_text("a" * 64 + "\n")
    key.chmod(0o600)
    assert run("migrate", cwd=tmp_path).returncode == 0
    assert not key.exists()


# Shutdown


@pytest.mark.parametrize("by", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=soak_only)])
def test_shutdown_under_load_keeps_acknowledged_messages(
    by: signal.Signals, service: Service
) -> None:
    acknowledged: list[str] = []
    busy = threading.Barrier(9)

    def send(sender: int, headers: dict[str, str]) -> None:
        with client(service) as http:
            for number in range(100_000):
                if number == 20:
                    busy.wait()
                text = f"{sender}-{number}"
                try:
                    sent = http.post("/chats/bob/messages", json={"message": text}, headers=headers)
                except httpx.TransportError:
                    return
                if sent.status_code == 201:
                    acknowledged.append(text)

    with client(service) as http:
        ann = a_chat(http)
    senders = [threading.Thread(target=send, args=(number, ann)) for number in range(8)]
    for sender in senders:
        sender.start()
    busy.wait()
    assert service.stop(by) == 0
    for sender in senders:
        sender.join()
    assert len(acknowledged) >= 8 * 20
    service.start()
    with client(service) as http:
        messages = http.get("/chats/messages/bob", headers=ann).json()
    stored = [message["message"] for message in messages]
    assert not set(acknowledged) - set(stored)
    assert max(Counter(stored).values()) == 1
    for sender_number in range(8):
        own = [text for text in stored if text.startswith(f"{sender_number}-")]
        assert own == sorted(own, key=lambda text: int(text.partition("-")[2]))


def request(path: str, headers: dict[str, str], body: bytes = b"", length: int = 0) -> bytes:
    lines = [f"{'POST' if length else 'GET'} {path} HTTP/1.1", "Host: x"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def stall(service: Service, headers: dict[str, str]) -> list[bytes]:
    """Bytes of peers that then neither send the rest nor read their answers."""
    return [
        b"",
        request("/healthz", {}),
        request("/chats", headers)[:-2],
        request("/chats/bob/messages", headers, b"{", length=99),
        request("/chats/messages/bob", headers) * 20,
    ]


def test_stalled_peers_do_not_prevent_shutdown(service: Service) -> None:
    with client(service) as http, ExitStack() as peers:
        ann = a_chat(http)
        for _ in range(200):
            http.post("/chats/bob/messages", json={"message": "\u00e9" * 4000}, headers=ann)
        stalling = []
        for sent in stall(service, ann) * 3:
            peer = peers.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            peer.sendall(sent)
            stalling.append(peer)
        # The service accepted them before this later request.
        assert get(f"{service.url}/healthz").status_code == 200
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started > 2
        # No answer is invented for a request whose end is unknown.
        assert all(b"HTTP/1.1 5" not in received(peer) for peer in stalling)
    assert not re.search("ERROR|Traceback", service.log())


def received(peer: socket.socket) -> bytes:
    """Everything that arrived on a closed connection."""
    chunks = []
    with suppress(ConnectionResetError):
        while chunk := peer.recv(1_000_000):
            chunks.append(chunk)
    return b"".join(chunks)


def test_idle_connections_do_not_delay_shutdown(service: Service) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            peer.sendall(request("/healthz", {}))
            assert peer.recv(99).startswith(b"HTTP/1.1 200 ")
        started = time.monotonic()
        assert service.stop() == 0
        # Waiting for them would last until the cut-off.
        assert time.monotonic() - started < (2 if SOAK else 20)
    assert "Traceback" not in service.log()


def connect_until_refused(service: Service) -> None:
    while True:
        socket.create_connection(("127.0.0.1", service.port)).close()


def test_second_interrupt_ends_the_process_at_once(service: Service) -> None:
    with client(service) as http, ExitStack() as peers:
        ann = a_chat(http)
        peer = peers.enter_context(socket.create_connection(("127.0.0.1", service.port)))
        peer.sendall(request("/chats/bob/messages", ann, b"{", length=99))
        assert get(f"{service.url}/healthz").status_code == 200
        service.process.send_signal(signal.SIGINT)
        # It has noticed once it accepts no more connections.
        with pytest.raises(ConnectionError):
            connect_until_refused(service)
        service.process.send_signal(signal.SIGINT)
        # Had it waited for the peer, it would have exited with status 0.
        assert service.process.wait(STOP_SECONDS) == -signal.SIGINT
    assert "Traceback" not in service.log()


HANGING = """
import asyncio, contextlib, sys
import chatcore_server.serving.server
from chatcore_server.cli import main

@contextlib.asynccontextmanager
async def open_app(settings, streams, chores):
    yield None
    await asyncio.sleep(60)

chatcore_server.serving.server.open_app = open_app
sys.exit(main(["serve", "--port", "0"]))
"""


def test_shutdown_abandons_a_hanging_disk(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HANGING],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert b"listens on" in process.stdout.readline()
        process.terminate()
        _, complaint = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 1
    assert complaint == (
        b"chatcore: stop timed out after 4.5 seconds; all acknowledged writes are stored\n"
    )


def imports(_folder: Path) -> bool:
    return True


def opens_its_database(folder: Path) -> bool:
    return (folder / "chatcore.db").exists()


def has_its_key(folder: Path) -> bool:
    return (folder / "chatcore.db.key").exists()


# From the installation of the signal handlers to shortly before the first answer.
@needs_proc
@pytest.mark.parametrize(
    ("by", "when"),
    [
        (signal.SIGTERM, imports),
        (signal.SIGINT, has_its_key),
        *(
            pytest.param(*it, marks=soak_only)
            for it in [(signal.SIGINT, imports), (signal.SIGTERM, opens_its_database)]
        ),
    ],
)
def test_service_can_be_stopped_while_it_starts(
    by: signal.Signals, when: Callable[[Path], bool], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while not (catches(process, signal.SIGTERM) and when(tmp_path)):
        time.sleep(0.001)
    process.send_signal(by)
    assert process.communicate(timeout=STOP_SECONDS)[1] == b""
    assert process.returncode == 0


def catches(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    assert process.poll() is None
    status = Path(f"/proc/{process.pid}/status").read_text("ascii")
    caught = re.search(r"SigCgt:\s+(\w+)", status)
    return caught is not None and bool(int(caught[1], 16) & 1 << (number - 1))


# Logs


def test_without_access_log_requests_are_not_logged(shared: Service) -> None:
    said = shared.log()
    with client(shared) as http:
        http.get("/chats", headers=a_chat(http))
        http.get("/nowhere")
    with socket.create_connection(("127.0.0.1", shared.port)) as peer:
        peer.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert peer.recv(99).startswith(b"HTTP/1.1 400 ")
    assert without_slow(shared.log()) == without_slow(said)


def without_slow(log: str) -> list[str]:
    """All lines but those of slow requests: on a busy machine any request may be slow."""
    return [line for line in log.splitlines() if " WARNING slow: " not in line]


def test_access_log_names_requests_and_no_secrets(tmp_path: Path) -> None:
    with QuickService(tmp_path, access_log="1") as service, client(service) as http:
        ann = a_chat(http)
        http.post("/chats/bob/messages", json={"message": TEXT}, headers=ann)
        http.post("/login", json={"username": "ann", "password": "wrong horse battery"})
        http.get("/chats/messages/%D0%B1%0A%1b[2J?limit=1&secret=query", headers=ann)
        forged = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
        http.get("/" + "x" * 4000, headers=forged)
        service.stop()
        log = service.log()
    token = ann["Authorization"].removeprefix("Bearer ")
    for secret in (PASSWORD, "wrong horse", TEXT, token, token.rpartition(".")[2], "query"):
        assert secret not in log
    assert "203.0.113.7" not in log
    lines = log.splitlines()[2:]
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:INFO|WARNING slow:) (.*) \d+\.\d ms"
    logged_requests = [found[1] for line in lines if (found := re.fullmatch(form, line))]
    assert len(logged_requests) == len(lines)
    assert logged_requests == [
        "GET /healthz 200",
        "POST /register 201",
        "POST /login 200",
        "POST /register 201",
        "POST /login 200",
        "POST /chat/bob 201",
        "POST /chats/bob/messages 201",
        "POST /login 401",
        "GET /chats/messages/%D0%B1%0A%1b%5B2J 404",
        f"GET /{'x' * 255}... 404",
    ]


@pytest.mark.parametrize("access_log", ["0", pytest.param("1", marks=soak_only)])
def test_slow_request_is_logged(access_log: str, tmp_path: Path) -> None:
    with QuickService(tmp_path, access_log=access_log) as service:
        with client(service) as http:
            ann = a_chat(http)
        with socket.create_connection(("127.0.0.1", service.port)) as peer:
            body = json.dumps({"message": TEXT}).encode()
            waiting = ann | {"Expect": "100-continue"}
            peer.sendall(request("/chats/bob/messages", waiting, b"", len(body)))
            # The clock has started when it asks for the body.
            assert peer.recv(99).startswith(b"HTTP/1.1 100 ")
            time.sleep(1.1)
            peer.sendall(body)
            assert peer.recv(99).startswith(b"HTTP/1.1 201 ")
        service.stop()
        # On a busy machine the earlier requests are slow as well.
        [slow] = [line for line in service.log().splitlines() if "slow: POST /chats/bob" in line]
    logged = re.search(r" WARNING slow: POST /chats/bob/messages (?:201 )?(\d+)(\.\d)? ms$", slow)
    assert logged is not None
    assert int(logged[1]) >= 1000


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit, which Linux has")
def test_failure_is_logged_with_traceback_and_request_id(service: Service) -> None:
    with client(service) as http:
        ann = a_chat(http)
        # From here on the disk is full for this process.
        largest = max(file.stat().st_size for file in service.folder.glob("chatcore.db*"))
        limits = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (largest, limits[1]))
        for _ in range(200):
            failed = http.post(
                "/chats/bob/messages", json={"message": TEXT + "!" * 3000}, headers=ann
            )
            if failed.status_code != 201:
                break
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, limits)
        assert failed.status_code == 503
        assert failed.headers["retry-after"]
        again = http.post("/chats/bob/messages", json={"message": TEXT}, headers=ann)
        assert again.status_code == 201
    log = service.log_with(f"ERROR request {failed.headers['x-request-id']}: POST")
    assert "Traceback (most recent call last)" in log
    for secret in (PASSWORD, TEXT, ann["Authorization"].rpartition(".")[2]):
        assert secret not in log


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit, which Linux has")
def test_service_is_not_ready_while_every_send_fails(service: Service) -> None:
    with client(service) as http:
        ann = a_chat(http)
        assert http.get("/readyz").status_code == 200
        limits = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
        sent = http.post("/chats/bob/messages", json={"message": TEXT}, headers=ann)
        assert sent.status_code == 503
        until_ready(http, 503)
        assert http.get("/chats", headers=ann).status_code == 200
        # Ready again without any send.
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, limits)
        until_ready(http, 200)
        sent = http.post("/chats/bob/messages", json={"message": TEXT}, headers=ann)
        assert sent.status_code == 201


def until_ready(http: httpx.Client, status: int) -> None:
    """Wait until `/readyz` answers with that status."""
    deadline = time.monotonic() + 60
    while http.get("/readyz").status_code != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Limits


FLOODS = {
    "header": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: ", b"a" * 1_000_000),
    "headers": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n" * 150_000),
    "URL": (b"GET /", b"a" * 1_000_000),
    "trailers": (
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"a: b\r\n" * 150_000,
    ),
    "requests": (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 25_000),
}


@needs_proc
@pytest.mark.parametrize(("first", "flood"), FLOODS.values(), ids=FLOODS)
def test_unauthenticated_flood_uses_no_memory(first: bytes, flood: bytes, shared: Service) -> None:
    with client(shared) as http:
        assert http.get("/healthz").status_code == 200
        before = memory_of(shared.process.pid, "VmHWM")
        with socket.create_connection(("127.0.0.1", shared.port)) as peer:
            peer.settimeout(60)
            try:
                peer.sendall(first)
                for _ in range(100):
                    peer.sendall(flood)
            except ConnectionError:
                pass
        assert http.get("/healthz").status_code == 200
        assert memory_of(shared.process.pid, "VmHWM") - before < 16


def test_connection_beyond_the_limit_gets_503(tmp_path: Path) -> None:
    with QuickService(tmp_path, max_connections="1") as service, client(service) as http:
        assert http.get("/healthz").status_code == 200
        with client(service) as other:
            refused = other.get("/healthz")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json() == {"error": "Service Unavailable"}
        assert http.get("/healthz").status_code == 200


def test_answers_have_no_server_header(shared: Service) -> None:
    with client(shared) as http:
        assert "server" not in http.get("/healthz").headers


# Under another server


def test_application_runs_under_another_server(tmp_path: Path) -> None:
    log_path = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--factory", "chatcore_server.app:create"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--http", "h11", "--loop", "asyncio"],
            cwd=tmp_path,
            env=environment(access_log="1"),
            stdout=log,
            stderr=log,
        )
    try:
        transport = httpx.HTTPTransport(retries=8, verify=False)
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=60
        ) as http:
            ann = a_chat(http)
            assert http.get("/chats", headers=ann).json() == [{"chat_id": 1, "user": "bob"}]
        second = subprocess.run(
            [*command, "--port", "0"],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode != 0
        assert "is in use by another process" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
    log_text = log_path.read_text()
    assert "INFO POST /chat/bob 201 " in log_text
    assert "Application shutdown complete" in log_text
    assert "Traceback" not in log_text
