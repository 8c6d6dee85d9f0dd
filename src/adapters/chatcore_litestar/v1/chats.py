"""The routes under /v1 for the state of chats: sync, list, open, mark as read."""

from urllib.parse import quote

import msgspec
from litestar import get, put
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from chatcore.model import MAX_INT64
from chatcore_litestar.context import Context
from chatcore_litestar.openapi import (
    CHAT_ID,
    HANDLE,
    TEXT,
    USER_NAME,
    in_query,
    limit_on,
    number,
    operation,
    with_problems,
)
from chatcore_litestar.replies import Reply, encode
from chatcore_litestar.requests import (
    UserRequest,
    decode_read,
    read_body,
    read_chat_id,
    read_handle,
    read_limit,
    read_place,
    read_query,
)
from chatcore_litestar.v1.items import V1Chat, chat_item


class Snapshot(msgspec.Struct):
    cursor: str
    me: str
    chats: list[V1Chat]
    handle: str
    """My own."""


class ChatPage(msgspec.Struct):
    chats: list[V1Chat]
    next: str | None
    """The `before` of the next page; None on the last."""


class ReadMarker(msgspec.Struct):
    read_seq: int


def chat_routes(context: Context) -> list[HTTPRouteHandler]:
    return [*_list_routes(context), *_change_routes(context)]


def _list_routes(context: Context) -> list[HTTPRouteHandler]:
    @get(
        "/sync",
        summary="Get the current state: my newest 100 chats, and the cursor to follow from",
        operation_class=operation(),
        responses=with_problems(Snapshot, 200),
    )
    async def sync(request: UserRequest) -> ASGIApp:
        user = request.user
        cursor, states = await context.messenger.sync(user)
        chats = [chat_item(state, user) for state in states]
        return Reply(200, encode(Snapshot(str(cursor), user.name, chats, user.handle)))

    @get(
        "/chats",
        summary="List my chats, the most recently active first",
        description="The pages together show every chat once; a chat that becomes active "
        "between two requests may be missing.",
        operation_class=operation(
            parameters=[
                limit_on("chats"),
                in_query("before", "The `next` of the previous page, unchanged.", TEXT),
            ]
        ),
        responses=with_problems(ChatPage, 200),
    )
    async def list_chats(request: UserRequest) -> ASGIApp:
        user = request.user
        found = read_query(request, ("limit", "before"))
        limit = read_limit(found)
        before = read_place("a", found["before"]) if "before" in found else None
        # One extra item shows whether another page follows.
        states = await context.messenger.states(user, before=before, limit=limit + 1)
        more = len(states) > limit
        items = [chat_item(state, user) for state in states[:limit]]
        return Reply(
            200, encode(ChatPage(items, f"a{states[limit - 1].activity}" if more else None))
        )

    @get(
        "/chats/{chat_id:str}",
        summary="Get one of my chats",
        operation_class=operation(parameters=[CHAT_ID]),
        responses=with_problems(V1Chat, 200, 404),
    )
    async def show_chat(request: UserRequest) -> ASGIApp:
        user = request.user
        state = await context.messenger.state(user, read_chat_id(request))
        return Reply(200, encode(chat_item(state, user)))

    return [sync, list_chats, show_chat]


def _change_routes(context: Context) -> list[HTTPRouteHandler]:
    @put(
        "/users/{user_name:str}/chat",
        summary="Get my chat with a user; open it if it does not exist",
        operation_class=operation(
            parameters=[USER_NAME, HANDLE],
            headers={201: {"Location": "The path of the new chat."}},
        ),
        responses=with_problems(V1Chat, 200, 201, 403, 404, 422),
    )
    async def ensure_chat(request: UserRequest) -> ASGIApp:
        user = request.user
        chat, created = await context.messenger.ensure_chat(
            user, await context.messenger.find_user(read_handle(request), realm=user.realm)
        )
        body = encode(chat_item(await context.messenger.state(user, chat.id), user))
        if not created:
            return Reply(200, body)
        # Three segments up, so that it holds wherever the router is mounted.
        root = request.scope.get("root_path", "") + request.scope["path"].rsplit("/", 3)[0]
        return Reply(201, body, [(b"location", f"{quote(root)}/chats/{chat.id}".encode())])

    @put(
        "/chats/{chat_id:str}/read",
        summary="Mark a chat as read up to a message",
        description="The read marker only moves forward, up to the last message. It moves at most "
        "once a second, so an answer may take that long.",
        operation_class=operation(parameters=[CHAT_ID], body={"seq": number(0, MAX_INT64)}),
        responses=with_problems(ReadMarker, 200, 404, 408, 413, 422),
    )
    async def mark_read(request: UserRequest) -> ASGIApp:
        body = await read_body(request, decode_read, context.body_seconds)
        chat = await context.messenger.chat(request.user, read_chat_id(request))
        return Reply(
            200, encode(ReadMarker(await context.messenger.mark_read(request.user, chat, body.seq)))
        )

    return [ensure_chat, mark_read]
