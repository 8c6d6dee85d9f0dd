"""The routes under /v1, but for the events."""

import re
from urllib.parse import quote

import msgspec
from litestar import get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.types import ASGIApp

from chatcore import InvalidKey, Messenger
from chatcore.errors import ChatNotFound, MessageNotFound
from chatcore.model import MAX_INT64, MAX_KEY, MAX_TEXT
from chatcore_litestar.openapi import (
    IDEMPOTENCY_KEY,
    PAGING,
    TEXT,
    answers,
    in_path,
    in_query,
    limit_on,
    number,
    operation,
)
from chatcore_litestar.options import options
from chatcore_litestar.replies import Headers, Reply, encode
from chatcore_litestar.requests import (
    UserRequest,
    decode_read,
    decode_v1_message,
    read_body,
    read_cursors,
    read_key,
    read_limit,
    read_place,
    read_query,
)
from chatcore_litestar.v1.items import V1Chat, V1Message, chat_item, message_item


class Snapshot(msgspec.Struct):
    cursor: str
    me: str
    chats: list[V1Chat]


class ChatPage(msgspec.Struct):
    chats: list[V1Chat]
    next: str | None
    """The `before` of the page that follows."""


class MessagePage(msgspec.Struct):
    messages: list[V1Message]
    older: bool
    newer: bool


class ReadMarker(msgspec.Struct):
    read_seq: int


CHAT_ID = in_path("chat_id", number(1, MAX_INT64))
SEQ = in_path("seq", number(1, MAX_INT64))
USER_NAME = in_path("user_name", TEXT)
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_TEXT = Schema(type=OpenAPIType.STRING, min_length=1, max_length=MAX_TEXT)
_KEY = Schema(
    type=[OpenAPIType.STRING, OpenAPIType.NULL],
    min_length=1,
    max_length=MAX_KEY,
    pattern="^[!-~]+$",
)


def v1_routes(messenger: Messenger, body_seconds: float) -> list[HTTPRouteHandler]:
    return [*_chat_routes(messenger, body_seconds), *_message_routes(messenger, body_seconds)]


def _chat_routes(messenger: Messenger, body_seconds: float) -> list[HTTPRouteHandler]:
    @get(
        "/sync",
        summary="How things are now: the newest 100 chats, and where the events go on",
        operation_class=operation(),
        responses=answers(Snapshot, 200),
    )
    async def sync(request: UserRequest) -> ASGIApp:
        user = request.user
        cursor, states = await messenger.sync(user)
        chats = [chat_item(state, user) for state in states]
        return Reply(200, encode(Snapshot(str(cursor), user.name, chats)))

    @get(
        "/chats",
        summary="My chats, the most recently active first",
        description="Page after page, every chat that was not active meanwhile appears once.",
        operation_class=operation(
            parameters=[
                limit_on("chats"),
                in_query("before", "The `next` of the page before, as it is.", TEXT),
            ]
        ),
        responses=answers(ChatPage, 200),
    )
    async def list_chats(request: UserRequest) -> ASGIApp:
        user = request.user
        found = read_query(request, ("limit", "before"))
        limit = read_limit(found)
        before = read_place("a", found["before"]) if "before" in found else None
        # One more than asked for tells whether anything follows.
        states = await messenger.states(user, before=before, limit=limit + 1)
        more = len(states) > limit
        items = [chat_item(state, user) for state in states[:limit]]
        return Reply(
            200, encode(ChatPage(items, f"a{states[limit - 1].activity}" if more else None))
        )

    @get(
        "/chats/{chat_id:str}",
        summary="One of my chats",
        operation_class=operation(parameters=[CHAT_ID]),
        responses=answers(V1Chat, 200, 404),
    )
    async def show_chat(request: UserRequest) -> ASGIApp:
        user = request.user
        state = await messenger.state(user, _chat_id(request))
        return Reply(200, encode(chat_item(state, user)))

    @put(
        "/users/{user_name:str}/chat",
        summary="My chat with a user, opened if there is none",
        operation_class=operation(
            parameters=[USER_NAME],
            headers={201: {"Location": "The path of the chat that was opened."}},
        ),
        responses=answers(V1Chat, 200, 201, 404, 422),
    )
    async def ensure_chat(request: UserRequest) -> ASGIApp:
        user = request.user
        chat, created = await messenger.ensure_chat(
            user, await messenger.find_user(request.path_params["user_name"])
        )
        body = encode(chat_item(await messenger.state(user, chat.id), user))
        if not created:
            return Reply(200, body)
        # Three segments up, wherever this is mounted.
        root = request.scope.get("root_path", "") + request.scope["path"].rsplit("/", 3)[0]
        return Reply(201, body, [(b"location", f"{quote(root)}/chats/{chat.id}".encode())])

    @put(
        "/chats/{chat_id:str}/read",
        summary="Tell that I have read up to a message",
        description="The marker only moves forward, and not beyond the last message; at most "
        "once a second, so that an answer may take as long.",
        operation_class=operation(parameters=[CHAT_ID], body={"seq": number(0, MAX_INT64)}),
        responses=answers(ReadMarker, 200, 404, 408, 413, 422),
    )
    async def mark_read(request: UserRequest) -> ASGIApp:
        body = await read_body(request, decode_read, body_seconds)
        chat = await messenger.chat(request.user, _chat_id(request))
        return Reply(
            200, encode(ReadMarker(await messenger.mark_read(request.user, chat, body.seq)))
        )

    return [sync, list_chats, show_chat, ensure_chat, mark_read]


def _message_routes(messenger: Messenger, body_seconds: float) -> list[HTTPRouteHandler]:
    messages = "/chats/{chat_id:str}/messages"

    @get(
        messages,
        summary="A page of a chat's messages, oldest first",
        description="With one of `before`, `after` and `around`, or, without, the newest. A chat "
        "numbers its messages from 1.",
        operation_class=operation(
            parameters=[
                CHAT_ID,
                *PAGING,
                in_query(
                    "around",
                    "Half of the page numbered below, the rest from this number on.",
                    number(0, MAX_INT64),
                ),
            ]
        ),
        responses=answers(MessagePage, 200, 404),
    )
    async def list_messages(request: UserRequest) -> ASGIApp:
        found = read_query(request, ("limit", "before", "after", "around"))
        cursors, limit = read_cursors(found), read_limit(found)
        chat = await messenger.chat(request.user, _chat_id(request))
        page = await messenger.page(request.user, chat, limit=limit, **cursors)
        items = [message_item(chat, message) for message in page.messages]
        return Reply(200, encode(MessagePage(items, page.older, page.newer)))

    @get(
        "/chats/{chat_id:str}/messages/{seq:str}",
        summary="One message",
        operation_class=operation(parameters=[CHAT_ID, SEQ]),
        responses=answers(V1Message, 200, 404),
    )
    async def show_message(request: UserRequest) -> ASGIApp:
        chat = await messenger.chat(request.user, _chat_id(request))
        if (seq := _number(request, "seq")) is None:
            raise MessageNotFound
        message = await messenger.message(request.user, chat, seq)
        return Reply(200, encode(message_item(chat, message)))

    @post(
        messages,
        summary="Send a message",
        description="The idempotency key may come in the body or in the header.",
        operation_class=operation(
            body={"text": _TEXT, "idempotency_key": _KEY},
            optional=["idempotency_key"],
            parameters=[CHAT_ID, IDEMPOTENCY_KEY],
            headers={201: {"Idempotency-Replayed": "`true` when this is the first answer again."}},
        ),
        responses=answers(V1Message, 201, 404, 408, 413, 422),
    )
    async def send(request: UserRequest) -> ASGIApp:
        body = await read_body(request, decode_v1_message, body_seconds)
        chat = await messenger.chat(request.user, _chat_id(request))
        key = read_key(request)
        if key is None:
            key = body.idempotency_key
        elif body.idempotency_key not in (None, key):
            raise InvalidKey("the header and the body have different idempotency keys")
        headers: Headers = ()
        if key is None:
            message = await messenger.send(request.user, chat, body.text)
        else:
            message, replayed = await messenger.send_once(request.user, chat, body.text, key)
            headers = [(b"idempotency-replayed", b"true")] if replayed else ()
        return Reply(201, encode(message_item(chat, message)), headers)

    return [options(messages, "GET", "POST"), list_messages, show_message, send]


def _number(request: UserRequest, name: str) -> int | None:
    segment = request.path_params[name]
    # int() also takes signs, underscores and every script's digits.
    number = int(segment) if _NUMBER.fullmatch(segment) else 0
    return number if 1 <= number <= MAX_INT64 else None


def _chat_id(request: UserRequest) -> int:
    """Raises ChatNotFound, for no chat has an id that is none."""
    if (chat_id := _number(request, "chat_id")) is None:
        raise ChatNotFound
    return chat_id
