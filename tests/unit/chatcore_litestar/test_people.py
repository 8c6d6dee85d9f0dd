"""Users of a host over HTTP: addressed by handle, within their realm."""

import json
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from litestar import Litestar

from chatcore import Accounts, Chat, Cursor, InvalidToken, Messenger, RequestHead, Session, User
from chatcore_litestar import create_app
from chatcore_memory import InsecureTestHasher, InsecureTestTokens, MemoryStore
from tests.support.api import Api, Someone, api_of
from tests.support.listening import Request


class HostLogin:
    """Accepts the id of a user as a token: a host with a login of its own."""

    ambient = False

    def __init__(self, people: MemoryStore) -> None:
        self._people = people

    def credential(self, request: RequestHead) -> str | None:
        return request.bearer_token()

    async def session(self, credential: Hashable) -> Session:
        user = await self._people.user_by_id(int(str(credential)))
        if user is None:
            raise InvalidToken
        return Session(user)


@dataclass
class Host:
    """Two users named Ann and an account named 2, in three chats that never meet."""

    app: Litestar
    api: Api
    shop: Messenger
    ann: User
    anna: User
    account: User
    chat: Chat

    def by(self, user: User) -> Someone:
        return Someone(user.handle, str(user.id))


@asynccontextmanager
async def host() -> AsyncIterator[Host]:
    store = MemoryStore()
    accounts = Accounts(store, InsecureTestHasher(), InsecureTestTokens(b"secret"))
    shop = Messenger(store, realm="shop")
    account = await accounts.register("2", "correct horse battery")
    ann, anna = await shop.user("1", name="Ann"), await shop.user("2", name="Ann")
    chat = await shop.open_chat(ann, anna)
    await shop.send(anna, chat, "hello")
    # One Messenger serves both realms: the caller's decides.
    app = create_app(Messenger(store), authenticator=HostLogin(store))
    async with api_of(app) as api:
        yield Host(app, api, shop, ann, anna, account, chat)


async def test_fixed_routes_show_and_take_handles() -> None:
    async with host() as on:
        ann = on.by(on.ann)
        chats = await on.api.call("GET", "/chats", ann)
        assert chats.json() == [{"chat_id": on.chat.id, "user": "2"}]
        sent = await on.api.send(ann, "2", "hi")
        assert (sent.status_code, sent.json()) == (201, {"sender": "1", "message": "hi"})
        read = await on.api.read(ann, "2")
        assert [item["sender"] for item in read.json()] == ["2", "1"]
        third = await on.shop.user("3", name="Eve")
        opened = await on.api.open_chat(ann, "3")
        assert opened.status_code == 201
        assert opened.json()["user"] == third.handle


async def test_fixed_routes_take_a_leading_colon_as_part_of_a_handle() -> None:
    """Of a name they drop it, and names have none."""
    async with host() as on:
        ann = on.by(on.ann)
        other = await on.shop.user(":2", name="Eve")
        assert (await on.api.send(ann, ":2", "for Eve")).status_code == 400
        opened = await on.api.open_chat(ann, ":2")
        assert (opened.status_code, opened.json()["user"]) == (201, ":2")
        assert (await on.api.send(ann, ":2", "for Eve")).status_code == 201
        assert [item["message"] for item in (await on.api.read(ann, ":2")).json()] == ["for Eve"]
        assert [item["message"] for item in (await on.api.read(ann, "2")).json()] == ["hello"]
        assert (await on.api.call("PUT", "/v1/blocks/:2", ann)).status_code == 204
        assert await on.shop.blocked_by(on.ann) == [other]


@pytest.mark.parametrize("handle", ["team/bob", ".", "..", "a+b", "a%2Fb", "-", "/", "e\u0301"])
async def test_v1_takes_handles_that_no_path_can_carry_in_the_query(handle: str) -> None:
    async with host() as on:
        ann = on.by(on.ann)
        peer = await on.shop.user(handle, name="Bob")
        query = f"?handle={quote(handle, safe='')}"
        opened = await on.api.call("PUT", f"/v1/users/-/chat{query}", ann)
        assert (opened.status_code, opened.json()["handle"]) == (201, handle)
        assert opened.headers["location"] == f"/v1/chats/{opened.json()['chat_id']}"
        assert (await on.api.call("PUT", f"/v1/blocks/-{query}", ann)).status_code == 204
        assert await on.shop.blocked_by(on.ann) == [peer]
        assert (await on.api.call("DELETE", f"/v1/blocks/-{query}", ann)).status_code == 204
        assert await on.shop.blocked_by(on.ann) == []
        twice = await on.api.call("PUT", f"/v1/users/-/chat{query}&handle=2", ann)
        assert (twice.status_code, twice.json()["code"]) == (400, "invalid_page")
        other = await on.api.call("PUT", f"/v1/users/-/chat{query}", on.by(on.account))
        assert other.status_code == 404


async def test_v1_shows_names_with_their_handles() -> None:
    async with host() as on:
        ann, path = on.by(on.ann), f"/v1/chats/{on.chat.id}"
        me = await on.api.call("GET", "/v1/me", ann)
        assert me.json() == {"user": "Ann", "handle": "1"}
        sync = (await on.api.call("GET", "/v1/sync", ann)).json()
        assert (sync["me"], sync["handle"]) == ("Ann", "1")
        chat = (await on.api.call("GET", path, ann)).json()
        assert sync["chats"] == [chat]
        assert (chat["user"], chat["handle"]) == ("Ann", "2")
        last = chat["last_message"]
        assert (last["sender"], last["handle"]) == ("Ann", "2")
        page = (await on.api.call("GET", f"{path}/messages", ann)).json()
        assert page["messages"] == [last]
        await on.api.call("PUT", f"{path}/read", ann, json={"seq": 1})
        cursor = Cursor.parse(sync["cursor"])
        assert cursor
        path = f"/v1/events?after={cursor.at(0)}"
        events = (await on.api.call("GET", path, ann)).json()["events"]
        assert [(it["type"], it.get("user"), it.get("handle")) for it in events] == [
            ("chat", "Ann", "2"),
            ("message", None, None),
            ("read", "Ann", "1"),
        ]
        assert events[1]["message"] == last


async def test_peers_are_found_within_the_realm_of_the_caller() -> None:
    async with host() as on:
        found = await on.api.ensure_chat(on.by(on.ann), "2")
        assert (found.status_code, found.json()["chat_id"]) == (200, on.chat.id)
        account = on.by(on.account)
        for handle in ("1", on.ann.key):
            assert (await on.api.open_chat(account, handle)).status_code == 400
            assert (await on.api.ensure_chat(account, handle)).status_code == 404
            assert (await on.api.send(account, handle, "hello")).status_code == 400
            assert (await on.api.read(account, handle)).status_code == 404
        blocked = await on.api.call("PUT", "/v1/blocks/2", on.by(on.ann))
        assert blocked.status_code == 204
        listed = (await on.api.call("GET", "/v1/blocks", on.by(on.ann))).json()
        assert listed["blocks"] == [{"user": "Ann", "handle": "2"}]
        assert await on.shop.blocked_by(on.ann) == [on.anna]
        assert (await on.api.call("DELETE", "/v1/blocks/2", on.by(on.ann))).status_code == 204
        assert await on.shop.blocked_by(on.ann) == []


async def test_export_tells_two_users_of_one_name_apart() -> None:
    async with host() as on:
        answer = await on.api.call("GET", "/v1/me/export", on.by(on.ann))
        lines = [line for line in map(json.loads, answer.text.splitlines()) if "handle" in line]
        assert [(it["type"], it.get("user", it.get("sender")), it["handle"]) for it in lines] == [
            ("user", "Ann", "1"),
            ("chat", "Ann", "2"),
            ("message", "Ann", "2"),
        ]


async def test_rename_shows_at_once_and_ends_no_stream() -> None:
    async with host() as on:
        ann, anna = on.by(on.ann), on.by(on.anna)
        assert (await on.api.call("GET", "/v1/me", anna)).json()["user"] == "Ann"
        async with Request(on.app, ann, "/v1/events", accept="text/event-stream") as stream:
            await stream.frame()
            for user in (on.anna, on.ann):
                await on.shop.user(user.handle, name=f"User {user.handle}")
            assert (await on.api.call("GET", "/v1/me", anna)).json()["user"] == "User 2"
            chat = (await on.api.call("GET", f"/v1/chats/{on.chat.id}", ann)).json()
            assert (chat["user"], chat["last_message"]["sender"]) == ("User 2", "User 2")
            await on.api.send(anna, "1", "still there?")
            frame = await stream.frame()
            assert frame.data["message"]["sender"] == "User 2"
