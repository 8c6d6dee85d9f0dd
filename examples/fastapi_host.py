"""A shop on FastAPI, with users and a login of its own, has a chat for them under /chat.

uvicorn --app-dir examples fastapi_host:app

docs/embedding.md shows how to try it with curl.
"""

import secrets
import sqlite3
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.middleware.sessions import SessionMiddleware

from chatcore import Refused, RequestHead, Session, User
from chatcore_asgi import ChatApp, ChatConfig

# The shop: a table of users. Two are named Ann.

database = sqlite3.connect("shop.db", isolation_level=None, check_same_thread=False)
database.executescript("""
    CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    INSERT OR IGNORE INTO users VALUES (1, 'Ann'), (2, 'Ann'), (3, 'Bob');
""")


def name_of(user_id: int) -> str:
    """Return the name of a user; empty if there is none."""
    row = database.execute("SELECT name FROM users WHERE id = ?", [user_id]).fetchone()
    return str(row[0]) if row else ""


def signed_in(request: Request) -> int:
    """Return the id that the login below left in the session."""
    if (user_id := request.session.get("user_id")) is None:
        raise HTTPException(401)
    return int(user_id)


# The chat.


class Login:
    ambient = True  # Browsers send cookies by themselves.

    def credential(self, request: RequestHead) -> Any:
        return request.scope["session"].get("user_id")

    async def session(self, credential: Any) -> Session:
        return Session(await chat_user(credential))


async def chat_user(user_id: int) -> User:
    # An unknown id has an empty name, which the chat refuses.
    return await chat.messenger.user(str(user_id), name=name_of(user_id))


chat = ChatApp(ChatConfig(database_url="sqlite:///chat.db", realm="shop", authenticator=Login()))
app = FastAPI(lifespan=chat.lifespan)
app.mount("/chat", chat)


@app.post("/questions")
async def ask(
    request: Request, to: Annotated[int, Body()], text: Annotated[str, Body()]
) -> dict[str, int]:
    """Send a message from the user of the session, the first one or a later one."""
    buyer, seller = await chat_user(signed_in(request)), await chat_user(to)
    conversation, _ = await chat.messenger.ensure_chat(buyer, seller)
    message = await chat.messenger.send(buyer, conversation, text)
    return {"seq": message.seq}


# The rest of the shop.

app.add_middleware(SessionMiddleware, secret_key=secrets.token_hex())


@app.exception_handler(Refused)
async def refused(_: Request, error: Refused) -> JSONResponse:
    """Answer what the user got wrong in /questions: nobody of that id, oneself, an empty text."""
    return JSONResponse({"error": error.code}, 422)


@app.post("/login")
async def log_in(request: Request, user_id: Annotated[int, Body(embed=True)]) -> None:
    """Stands for a login with a password."""
    if not name_of(user_id):
        raise HTTPException(401)
    request.session["user_id"] = user_id


@app.post("/logout")
async def log_out(request: Request) -> None:
    user = await chat_user(signed_in(request))
    request.session.clear()
    chat.messenger.changes.announce(user.id)  # Ends the user's open streams.
