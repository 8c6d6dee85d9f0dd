"""The examples of hosts on a real server: their users chat, by the session cookie of the host."""

import ast
import json
import re
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.repository import ROOT
from tests.support.uvicorn_process import UvicornProcess

SAME_ORIGIN = {"sec-fetch-site": "same-origin"}
CROSS_SITE = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
MOST_LINES = 15
EMBEDDING = (ROOT / "docs/embedding.md").read_text()


class Shop(ABC):
    """A host with the users 1 and 2."""

    example: str
    app: str
    modules: tuple[str, ...]
    names: tuple[str, str]

    @abstractmethod
    def prepare(self, folder: Path) -> None: ...

    @abstractmethod
    def log_in(self, client: httpx.Client, number: int) -> httpx.Response: ...

    @abstractmethod
    def ask(self, client: httpx.Client, to: int, text: str) -> httpx.Response: ...

    @contextmanager
    def client(self, server: UvicornProcess, number: int) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=server.url, headers=SAME_ORIGIN, timeout=60) as client:
            assert self.log_in(client, number).status_code == 200
            yield client


class FastApiShop(Shop):
    example = "fastapi_host"
    app = "fastapi_host:app"
    modules = ("fastapi", "itsdangerous")
    names = ("Ann", "Ann")

    def prepare(self, folder: Path) -> None:
        """It makes its table and users at the start."""

    def log_in(self, client: httpx.Client, number: int) -> httpx.Response:
        return client.post("/login", json={"user_id": number})

    def ask(self, client: httpx.Client, to: int, text: str) -> httpx.Response:
        return client.post("/questions", json={"to": to, "text": text})


class DjangoShop(Shop):
    example = "django_host"
    app = "django_host:application"
    modules = ("django",)
    names = ("user1", "user2")

    def prepare(self, folder: Path) -> None:
        add = (
            "from django.contrib.auth.models import User; "
            "[User.objects.create_user(f'user{n}', password='pass') for n in (1, 2)]"
        )
        for command in (["migrate", "-v", "0"], ["shell", "-v", "0", "-c", add]):
            file = f"{ROOT / 'examples' / self.example}.py"
            subprocess.run([sys.executable, file, *command], cwd=folder, check=True, timeout=600)

    def log_in(self, client: httpx.Client, number: int) -> httpx.Response:
        return client.post("/login", data={"username": f"user{number}", "password": "pass"})

    def ask(self, client: httpx.Client, to: int, text: str) -> httpx.Response:
        return client.post(f"/questions/{to}", data={"text": text})


SHOPS = [FastApiShop(), DjangoShop()]


@pytest.fixture(params=SHOPS, ids=lambda shop: shop.example)
def shop(request: pytest.FixtureRequest) -> Shop:
    found: Shop = request.param
    for module in found.modules:
        pytest.importorskip(module, reason="requirements/hosts.txt is not installed")
    return found


@contextmanager
def events(client: httpx.Client) -> Iterator[Iterator[dict[str, object]]]:
    accept = {"accept": "text/event-stream"}
    with client.stream("GET", "/chat/v1/events", headers=accept) as stream:
        lines = stream.iter_lines()
        yield (json.loads(line[6:]) for line in lines if line.startswith("data: "))


def test_users_of_the_host_chat(shop: Shop, tmp_path: Path) -> None:
    shop.prepare(tmp_path)
    with (
        UvicornProcess(shop.app, tmp_path) as server,
        shop.client(server, 1) as buyer,
        shop.client(server, 2) as seller,
    ):
        with httpx.Client(base_url=server.url, headers=SAME_ORIGIN, timeout=60) as stranger:
            assert stranger.get("/chat/v1/me").status_code == 401
            # FastAPI refuses, Django sends to the login.
            assert shop.ask(stranger, 2, "Is it still for sale?").status_code in {401, 302}
        with events(seller) as arriving:
            assert next(arriving)["type"] == "start"
            asked = shop.ask(buyer, 2, "Is it still for sale?")
            assert (asked.status_code, asked.json()) == (200, {"seq": 1})
            assert [next(arriving)["type"] for _ in range(2)] == ["chat", "message"]

        [chat] = seller.get("/chat/v1/chats").json()["chats"]
        assert (chat["user"], chat["handle"], chat["unread"]) == (shop.names[0], "1", 1)
        messages = f"/chat/v1/chats/{chat['chat_id']}/messages"
        refused = seller.post(messages, json={"text": "no"}, headers=CROSS_SITE)
        assert (refused.status_code, refused.json()["code"]) == (403, "cross_origin")
        assert seller.post(messages, json={"text": "Yes."}).status_code == 201
        assert buyer.get("/chat/chats/messages/2").json() == [
            {"sender": "1", "message": "Is it still for sale?"},
            {"sender": "2", "message": "Yes."},
        ]

        # A logout ends the streams of the user, and the cookie is worth nothing.
        with events(buyer) as ending:
            assert next(ending)["type"] == "start"
            assert buyer.post("/logout").status_code == 200
            assert list(ending) == [{"type": "end", "reason": "void"}]
        assert buyer.get("/chat/v1/me").status_code == 401

        # uvicorn waits for open streams, whose clients keep them open.
        with events(seller) as ending:
            assert next(ending)["type"] == "start"
            server.signal(signal.SIGTERM)
            assert list(ending) == [{"type": "end", "reason": "shutdown"}]
        assert server.wait() == -signal.SIGTERM
        assert "Application shutdown complete" in server.log()
        assert "Traceback" not in server.log()


def test_curl_commands_of_the_document_work(tmp_path: Path) -> None:
    shop = FastApiShop()
    for module in shop.modules:
        pytest.importorskip(module, reason="requirements/hosts.txt is not installed")
    [block] = re.findall(r"^```sh\n(.*?)^```", EMBEDDING, re.DOTALL | re.MULTILINE)
    *commands, last = re.findall(r"^curl (?:.|\n(?!curl))*", block, re.MULTILINE)
    with UvicornProcess(shop.app, tmp_path) as server:
        # The seller turns up first, as the document says.
        with shop.client(server, 2) as seller:
            assert seller.get("/chat/v1/me").status_code == 200
        answers = [
            subprocess.run(
                ["bash", "-c", command.replace("http://127.0.0.1:8000", server.url)],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                timeout=600,
                check=True,
            ).stdout
            for command in commands
        ]
        asked, chats, sent = map(json.loads, answers[1:])
        assert asked == {"seq": 1}
        assert [chat["last_message"]["text"] for chat in chats["chats"]] == [
            "Is it still for sale?"
        ]
        assert (sent["seq"], sent["text"]) == (2, "I could come today.")
        with subprocess.Popen(
            ["bash", "-c", f"exec {last.replace('http://127.0.0.1:8000', server.url)}"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
        ) as listening:
            assert listening.stdout is not None
            first = next(line for line in listening.stdout if line.startswith(b"data: "))
            listening.kill()
        assert json.loads(first[6:])["type"] == "start"


def test_mistakes_of_a_user_are_no_defect_of_the_host(tmp_path: Path) -> None:
    shop = FastApiShop()
    for module in shop.modules:
        pytest.importorskip(module, reason="requirements/hosts.txt is not installed")
    with UvicornProcess(shop.app, tmp_path) as server, shop.client(server, 1) as buyer:
        for to, text, code in (
            (9, "hello", "invalid_name"),
            (1, "hello", "self_chat"),
            (2, " ", "invalid_text"),
        ):
            answer = shop.ask(buyer, to, text)
            assert (answer.status_code, answer.json()) == (422, {"error": code})


def test_example_of_a_test_of_a_host_passes(tmp_path: Path) -> None:
    for module in FastApiShop.modules:
        pytest.importorskip(module, reason="requirements/hosts.txt is not installed")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null"]
    done = subprocess.run(
        [*command, str(ROOT / "examples/host_test.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


SYNCHRONOUS = """
from asgiref.sync import async_to_sync
from django.http import JsonResponse
from django.urls import path
from django_host import application, chat, urlpatterns, users

def chat_user(user):
    return async_to_sync(chat.messenger.user)(str(user.pk), name=user.get_username())

def ask(request):
    buyer, seller = chat_user(request.user), chat_user(users.get(pk=2))
    opened = async_to_sync(chat.messenger.ensure_chat)(buyer, seller)
    message = async_to_sync(chat.messenger.send)(buyer, opened.chat, "hello")
    return JsonResponse({"seq": message.seq})

urlpatterns.append(path("ask", ask))
"""


def test_synchronous_views_of_django_call_the_chat_by_async_to_sync(tmp_path: Path) -> None:
    pytest.importorskip("django", reason="requirements/hosts.txt is not installed")
    shop = DjangoShop()
    shop.prepare(tmp_path)
    (tmp_path / "synchronous.py").write_text(SYNCHRONOUS)
    with (
        UvicornProcess("synchronous:application", tmp_path) as server,
        shop.client(server, 1) as buyer,
    ):
        assert [buyer.post("/ask").json()["seq"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("shop", SHOPS, ids=lambda shop: shop.example)
def test_a_chat_takes_fifteen_lines_of_the_host(shop: Shop) -> None:
    assert lines_of_the_chat((ROOT / "examples" / f"{shop.example}.py").read_text()) <= MOST_LINES


def lines_of_the_chat(source: str) -> int:
    """Count the lines between the comments `# The chat…` and `# The rest…`, without comments, and
    without the heads and the last lines of routes, which are the host's: what it answers."""
    lines = source.splitlines()
    [first] = [n for n, line in enumerate(lines, 1) if line.startswith("# The chat.")]
    [last] = [n for n, line in enumerate(lines, 1) if line.startswith("# The rest of")]
    counted = {n for n in range(first, last) if lines[n - 1].split("#")[0].strip()}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AsyncFunctionDef) and ast.get_docstring(node):
            start = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            counted -= {*range(start, node.body[1].lineno), node.body[-1].lineno}
    return len(counted)


def test_the_lines_of_the_chat_are_counted() -> None:
    route = """@route\nasync def ask():\n    'Ask.'\n    send\n    # why\n    return"""
    source = f"shop\n# The chat.\n\nchat  # why\n\n\n{route}\n# The rest of the shop.\nshop"
    assert lines_of_the_chat(source) == 2
