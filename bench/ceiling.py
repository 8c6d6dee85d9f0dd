"""chatcore without its work: the same server, framework, middleware and logging, answering
ready-made JSON from no database. What chatcore adds to this is chatcore's own.

`python -m bench.ceiling PORT`
"""

import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from litestar import Litestar, Request, Router, get, post
from litestar.types import ASGIApp

from bench.data import SECRET, TEXT, Data
from chatcore import Accounts, User, UserName
from chatcore.model import utc_now
from chatcore_argon2 import Argon2Hasher
from chatcore_jwt import JwtTokens
from chatcore_litestar.auth import Sessions, bearer_auth
from chatcore_litestar.errors import EXCEPTION_HANDLERS
from chatcore_litestar.replies import Reply, Streamed, joined
from chatcore_litestar.requests import MAX_BODY
from chatcore_memory import MemoryStore
from chatcore_server import serve
from chatcore_server.logs import log_requests
from chatcore_server.settings import Settings

AnyRequest = Request[User, Any, Any]

encode = msgspec.json.Encoder().encode


@asynccontextmanager
async def open_ceiling(_settings: Settings, _streams: object, *, trims: bool) -> AsyncIterator[Any]:
    data = Data()
    store = MemoryStore()
    for name in data.names():
        await store.add_user(UserName(name), "", 0)
    app = _create(data, Accounts(store, Argon2Hasher(), JwtTokens(SECRET)))
    yield log_requests(app, every=False)


def _create(data: Data, accounts: Accounts) -> Litestar:
    item = {"sender": "writer", "message": TEXT}
    page = encode([item] * 50)
    piece = encode([item] * 500)
    listed = encode([{"chat_id": n, "user": f"user{n}"} for n in range(data.listed)])
    sent = encode(item)

    @post("/register")
    async def register(request: Request[Any, Any, Any]) -> ASGIApp:
        await request.body()
        return Reply(201, b'{"message":"User registered successfully"}')

    @post("/login")
    async def login(request: Request[Any, Any, Any]) -> ASGIApp:
        await request.body()
        return Reply(200, b'{"token":"' + b"x" * 150 + b'"}')

    @get("/chats")
    async def list_chats(request: AnyRequest) -> ASGIApp:
        return Reply(200, listed)

    @post("/chats/{user_name:str}/messages")
    async def send(request: AnyRequest, user_name: str) -> ASGIApp:
        await request.body()
        return Reply(201, sent)

    @get("/chats/messages/{user_name:str}")
    async def read(request: AnyRequest, user_name: str) -> ASGIApp:
        if request.scope["query_string"]:
            return Reply(200, page)

        async def pieces() -> Any:
            for _ in range(data.archive // 500):
                yield piece

        return Streamed(joined(pieces()), 30)

    private = Router(
        path="/",
        route_handlers=[list_chats, send, read],
        middleware=[bearer_auth(Sessions(accounts, utc_now))],
    )
    return Litestar(
        route_handlers=[register, login, private],
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=MAX_BODY,
        logging_config=None,
        openapi_config=None,
    )


if __name__ == "__main__":
    serve.open_app = open_ceiling  # type: ignore[attr-defined,assignment]
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    serve.serve(Settings(port=int(sys.argv[1])), stopping, lambda _: None)
