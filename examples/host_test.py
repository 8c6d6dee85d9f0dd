"""Tests of a host on FastAPI: its users chat through its own login and routes, in memory.

pytest examples/host_test.py
"""

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import Body, FastAPI, Request
from fastapi.testclient import TestClient

from chatcore import Messenger, RequestHead, Session
from chatcore.testing import assert_sent
from chatcore_asgi import ChatApp, ChatConfig
from chatcore_memory import MemoryStore

NAMES = {"17": "Ann", "42": "Bob"}  # The host's own table of users.


class Login:
    ambient = True  # Browsers send cookies by themselves.

    def __init__(self, messenger: Messenger) -> None:
        self._messenger = messenger

    def credential(self, request: RequestHead) -> Any:
        return request.cookies.get("user")

    async def session(self, credential: Any) -> Session:
        return Session(await self._messenger.user(credential, name=NAMES.get(credential, "")))


def make_app(**database: Any) -> FastAPI:
    """Build the host: on a `database_url` where it serves, on a `store` where it is tested."""
    chat = ChatApp(ChatConfig(realm="shop", authenticator=Login, **database))
    app = FastAPI(lifespan=chat.lifespan)
    app.state.chat = chat

    @app.post("/questions")
    async def ask(
        request: Request, to: Annotated[str, Body()], text: Annotated[str, Body()]
    ) -> dict[str, int]:
        users = await chat.messenger.users(NAMES)
        buyer, seller = users[request.cookies["user"]], users[to]
        conversation, _ = await chat.messenger.ensure_chat(buyer, seller)
        return {"seq": (await chat.messenger.send(buyer, conversation, text)).seq}

    app.mount("/chat", chat)
    return app


@pytest.fixture
def app() -> FastAPI:
    return make_app(store=MemoryStore())


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    # Browsers mark the requests of the host's own pages so; without the mark, writes get 403.
    with TestClient(app, headers={"Sec-Fetch-Site": "same-origin"}) as client:
        yield client


def test_seller_gets_the_question_and_answers(app: FastAPI, client: TestClient) -> None:
    client.cookies.set("user", "17")
    answer = client.post("/questions", json={"to": "42", "text": "Is it still for sale?"})
    assert answer.json() == {"seq": 1}

    async def expect_question() -> None:
        messenger = app.state.chat.messenger
        ann, bob = [await messenger.find_user(handle) for handle in NAMES]
        await assert_sent(messenger, ann, bob, "Is it still for sale?")

    # On the event loop of the application, which runs in another thread.
    assert client.portal is not None
    client.portal.call(expect_question)

    client.cookies.set("user", "42")
    [chat] = client.get("/chat/v1/chats").json()["chats"]
    assert (chat["user"], chat["unread"]) == ("Ann", 1)
    messages = f"/chat/v1/chats/{chat['chat_id']}/messages"
    assert client.post(messages, json={"text": "Yes."}).status_code == 201
