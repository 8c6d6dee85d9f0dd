"""chatcore's server with ready-made JSON and no database: `python -m bench.ready_made NAME PORT`.

`ceiling` has chatcore's framework, middleware and logging: the difference to chatcore is
chatcore's own cost. `bare` is an ASGI function: the difference to it is the cost of everything
but the server.
"""

import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import Litestar, Request, Router, get, post
from litestar.params import FromPath
from litestar.types import ASGIApp

from bench.data import SECRET, SENDERS, TEXT, Data
from chatcore import Accounts, BearerTokens, Messenger, User, UserName
from chatcore.model import elapsed, utc_now
from chatcore_argon2 import Argon2Hasher
from chatcore_jwt import JwtTokens
from chatcore_litestar import Streams
from chatcore_litestar.auth import authentication
from chatcore_litestar.client import address_behind
from chatcore_litestar.context import Context
from chatcore_litestar.errors import EXCEPTION_HANDLERS
from chatcore_litestar.replies import Reply, Streamed, joined
from chatcore_litestar.requests import MAX_BODY
from chatcore_memory import MemoryStore
from chatcore_server.observe.request_log import log_requests
from chatcore_server.serving import server
from chatcore_server.settings import Settings

AnyRequest = Request[User, Any, Any]

encode = msgspec.json.Encoder().encode
ITEM = {"sender": "writer", "message": TEXT}
SENT = encode({"sender": "sender0", "message": TEXT})
PAGE = encode([ITEM] * 50)
PIECE = encode([ITEM] * 500)


def _listed(data: Data) -> bytes:
    return encode([{"chat_id": SENDERS + 1 + n, "user": f"peer{n}"} for n in range(data.listed)])


async def ceiling(data: Data) -> Any:
    store = MemoryStore()
    for name in data.names():
        await store.add_user(UserName(name), "", 0)
    accounts = Accounts(store, Argon2Hasher(), JwtTokens(SECRET))
    context = Context(
        has_accounts=True, clock=utc_now, seconds=elapsed, address_of=address_behind(())
    )
    context.open(Messenger(store), accounts, BearerTokens(accounts), Streams())
    listed = _listed(data)

    @get("/chats")
    async def list_chats(request: AnyRequest) -> ASGIApp:
        return Reply(200, listed)

    @post("/chats/{user_name:str}/messages")
    async def send(request: AnyRequest, user_name: FromPath[str]) -> ASGIApp:
        await request.body()
        return Reply(201, SENT)

    @get("/chats/messages/{user_name:str}")
    async def read(request: AnyRequest, user_name: FromPath[str]) -> ASGIApp:
        if request.scope["query_string"]:
            return Reply(200, PAGE)

        async def pieces() -> Any:
            for _ in range(data.archive // 500):
                yield PIECE

        return Streamed(joined(pieces()), 30)

    private = Router(
        path="/",
        route_handlers=[list_chats, send, read],
        middleware=[authentication(context)],
    )
    app = Litestar(
        route_handlers=[private],
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=MAX_BODY,
        logging_config=None,
        openapi_config=None,
    )
    return log_requests(app, every=False)


async def bare(data: Data) -> Any:
    answers = {
        ("messages", b""): _messages(201, SENT),
        ("chats", b""): _messages(200, _listed(data)),
        ("writer", b"limit=50"): _messages(200, PAGE),
        ("writer", b"limit=50&before=5000"): _messages(200, PAGE),
    }
    nothing = _messages(404, b"")

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        request = scope["path"].rpartition("/")[2], scope["query_string"]
        start, body = answers.get(request, nothing)
        await send(start)
        await send(body)

    return answer


def _messages(status: int, body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    return (
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body},
    )


if __name__ == "__main__":
    make = {"ceiling": ceiling, "bare": bare}[sys.argv[1]]

    @asynccontextmanager
    async def open_app(*_: object, **__: object) -> AsyncIterator[Any]:
        yield await make(Data())

    server.open_app = open_app  # type: ignore[attr-defined]
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    server.serve(Settings(port=int(sys.argv[2])), stopping, lambda _: None)
