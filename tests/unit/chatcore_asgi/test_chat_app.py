"""ChatApp, called as an ASGI server or a framework calls it."""

from pathlib import Path
from typing import Any

import pytest

from chatcore_sqlalchemy import CannotOpen
from tests.support.api import Someone
from tests.support.asgi_host import chat_of, client_of, lifespan_of
from tests.support.listening import Request


async def home(scope: Any, receive: Any, send: Any) -> None:
    """A host without a lifespan. It answers with the path that it sees."""
    assert scope["type"] == "http"
    body = f"{scope.get('root_path', '')}|{scope['path']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    ("path", "status"), [("/chat", 404), ("/chat/", 404), ("/chat/v1/me", 200), ("/chat/v1", 404)]
)
async def test_beside_a_host_the_chat_has_all_below_its_path(path: str, status: int) -> None:
    chat = chat_of()
    async with lifespan_of(chat.beside(home)) as app, client_of(app) as client:
        answer = await client.get(path, headers={"x-user": "1"})
        assert answer.status_code == status
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/chats", "/chatty/v1/me", "/shop/chat/v1/me"])
async def test_beside_a_host_the_host_has_everything_else(path: str) -> None:
    chat = chat_of()
    async with lifespan_of(chat.beside(home)) as app, client_of(app) as client:
        assert (await client.get(path)).text == f"|{path}"


async def test_the_prefix_of_a_proxy_stands_before_both() -> None:
    chat = chat_of(path="/talk/")
    async with lifespan_of(chat.beside(home)) as app, client_of(app, root_path="/shop") as client:
        assert (await client.get("/shop/talks")).text == "/shop|/shop/talks"
        answer = await client.get("/shop/talk/v1/me", headers={"x-user": "1"})
        assert answer.json() == {"user": "User 1", "handle": "1"}
        await chat.messenger.user("2", name="User 2")
        opened = await client.put("/shop/talk/v1/users/2/chat", headers={"x-user": "1"})
        assert opened.headers["location"] == "/shop/talk/v1/chats/1"


async def test_the_host_reads_in_its_scope_what_it_wrote() -> None:
    chat = chat_of()
    scope: Any = {
        "type": "http",
        "method": "GET",
        "path": "/chat/v1/me",
        "root_path": "/chat",
        "query_string": b"",
        "headers": [(b"x-user", b"1")],
        "app": "the host",
        "user": "of the host",
        "path_params": {"of": "the host"},
    }
    before = dict(scope)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async with chat.lifespan():
        await chat(scope, receive, send)
    assert sent[0]["status"] == 200
    assert scope == before


async def test_outside_the_lifespan_the_errors_say_what_the_host_must_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = chat_of()
    async with client_of(chat) as client:
        answer = await client.get("/v1/me", headers={"x-user": "1"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "a host that mounts it must enter it" in caplog.text
    with pytest.raises(RuntimeError, match="a host that mounts it must enter its lifespan"):
        _ = chat.messenger


async def test_the_lifespan_may_be_entered_again() -> None:
    chat = chat_of()
    for _ in range(2):
        # The argument is what FastAPI passes.
        async with chat.lifespan("the host"), client_of(chat) as client:
            answer = await client.get("/v1/me", headers={"x-user": "1"})
            assert answer.json()["handle"] == "1"
            streams = chat.streams
        assert streams.closed


async def test_streams_end_before_the_lifespan_does() -> None:
    chat = chat_of()
    async with chat.lifespan():
        headers = {"accept": "text/event-stream", "x_user": "1"}
        request = Request(chat, Someone("", ""), "/v1/events", **headers)  # type: ignore[arg-type]
        assert (await request.frame()).data["type"] == "start"
    assert (await request.event()).data == {"type": "end", "reason": "shutdown"}
    await request.ended()


async def test_a_database_that_cannot_be_opened_stops_the_server(tmp_path: Path) -> None:
    chat = chat_of(store=None, database_url=f"sqlite:///{tmp_path}/missing/chat.db")
    said: list[str] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        said.append(message["type"])

    # Servers log what is raised, and end.
    with pytest.raises(CannotOpen, match=r"missing/chat\.db"):
        await chat.beside(home)({"type": "lifespan"}, receive, send)
    assert said == ["lifespan.startup.failed"]
