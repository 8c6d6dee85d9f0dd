"""A shop on Litestar, with customers and a login of its own: its customers chat.

python examples/litestar_plugin.py
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import uvicorn
from litestar import Litestar, Request, post
from litestar.di import NamedDependency
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.params import FromPath
from litestar.security.session_auth import SessionAuth

from chatcore import Messenger, User
from chatcore_litestar import RequestUser
from chatcore_litestar_plugin import ChatConfig, ChatPlugin


class Customer(NamedTuple):
    """A row of the shop's own table."""

    id: int
    name: str


database = sqlite3.connect("shop.db", check_same_thread=False)


def customer(number: int) -> Customer:
    found = database.execute("SELECT id, name FROM users WHERE id = ?", [number]).fetchone()
    return Customer(*found)


# The chat: who sends a request, and where the chats are kept.
def authenticator(messenger: Messenger) -> RequestUser:
    return RequestUser(messenger, lambda user: (str(user.id), user.name))


config = ChatConfig(database_url="sqlite:///chat.db", realm="shop", authenticator=authenticator)
chat = ChatPlugin(config)


@post("/orders/{seller:int}")
async def order(
    seller: FromPath[int], messenger: NamedDependency[Messenger], chat_user: NamedDependency[User]
) -> dict[str, int]:
    """Place an order, and tell the seller in a chat."""
    peer = await messenger.user(str(seller), name=customer(seller).name)
    opened = await messenger.ensure_chat(chat_user, peer)
    await messenger.send(chat_user, opened.chat, "I have ordered. When will it arrive?")
    return {"chat_id": opened.chat.id}


# The rest is the shop's own.
@post("/login/{number:int}", exclude_from_auth=True, status_code=204)
async def log_in(request: Request[Any, Any, Any], number: FromPath[int]) -> None:
    request.set_session({"customer": number})


def of_session(session: dict[str, Any], _: Any) -> Customer | None:
    return customer(session["customer"]) if session else None


sessions = SessionAuth[Customer, Any](
    retrieve_user_handler=of_session,
    session_backend_config=ServerSideSessionConfig(),
    exclude=["/schema"],
)


@asynccontextmanager
async def tables(_: Litestar) -> AsyncIterator[None]:
    with database:
        database.execute("CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT)")
        database.execute("INSERT OR IGNORE INTO users VALUES (17, 'Ann'), (42, 'Ann')")
    yield


app = Litestar(
    [order, log_in], plugins=[chat], on_app_init=[sessions.on_app_init], lifespan=[tables]
)

if __name__ == "__main__":
    uvicorn.run(app, port=8080)
