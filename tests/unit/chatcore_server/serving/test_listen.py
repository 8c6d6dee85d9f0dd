"""Listening sockets, and the limit on connections."""

import socket
import subprocess
import sys
from contextlib import ExitStack, closing

import pytest

from chatcore_server.serving.listen import bind, url_of
from chatcore_server.settings import CannotStart


def test_all_addresses_of_a_host_share_one_port() -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(bound)) for bound in bind("localhost", 0)]
        assert len({bound.getsockname()[1] for bound in sockets}) == 1
        assert "127.0.0.1" in {bound.getsockname()[0] for bound in sockets}
        assert all(bound.getsockname()[1] > 0 for bound in sockets)


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_url_names_a_reachable_host(host: str, url: str) -> None:
    try:
        [bound] = bind(host, 0)
    except CannotStart:
        pytest.skip(f"no {host} here")
    with bound:
        assert url_of(bound) == f"http://{url}:{bound.getsockname()[1]}"


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_lost_peers_are_disconnected() -> None:
    [bound] = bind("127.0.0.1", 0)
    with bound:
        bound.listen()
        with socket.create_connection(bound.getsockname()), bound.accept()[0] as accepted:
            waits = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert waits == 60_000


@pytest.mark.parametrize("host", ["a" * 64, "nul\0"])
def test_invalid_host_is_refused(host: str) -> None:
    with pytest.raises(CannotStart, match="is not a known address or host name"):
        bind(host, 0)


@pytest.mark.parametrize(
    ("soft", "hard", "allowed"),
    [(2000, 2000, 1000), (500, 2000, 1000), (500, 500, 436), (70, 70, 6)],
)
def test_descriptors_limit_connections(soft: int, hard: int, allowed: int) -> None:
    program = f"""
import resource
from chatcore_server.serving.listen import allow_connections
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
allowed = allow_connections(1000)
print(allowed, resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= allowed + 64)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [str(allowed).encode(), b"True"]
