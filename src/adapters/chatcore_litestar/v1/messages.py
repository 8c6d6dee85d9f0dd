"""The routes under /v1/chats/{chat_id}/messages: read and send."""

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.types import ASGIApp

from chatcore import InvalidKey
from chatcore.model import MAX_INT64, MAX_KEY, MAX_TEXT
from chatcore_litestar.context import Context
from chatcore_litestar.openapi import (
    CHAT_ID,
    IDEMPOTENCY_KEY,
    PAGING,
    SEQ,
    in_query,
    number,
    operation,
    with_problems,
)
from chatcore_litestar.options import options
from chatcore_litestar.replies import Headers, Reply, encode
from chatcore_litestar.requests import (
    UserRequest,
    decode_v1_message,
    read_body,
    read_chat_id,
    read_cursors,
    read_key,
    read_limit,
    read_query,
    read_seq,
)
from chatcore_litestar.v1.items import V1Message, message_item

_MESSAGES = "/chats/{chat_id:str}/messages"
_TEXT = Schema(type=OpenAPIType.STRING, min_length=1, max_length=MAX_TEXT)
_KEY = Schema(
    type=[OpenAPIType.STRING, OpenAPIType.NULL],
    min_length=1,
    max_length=MAX_KEY,
    pattern="^[!-~]+$",
)


class MessagePage(msgspec.Struct):
    messages: list[V1Message]
    older: bool
    newer: bool


def message_routes(context: Context) -> list[HTTPRouteHandler]:
    return [options(_MESSAGES, "GET", "POST"), *_read_routes(context), *_send_routes(context)]


def _read_routes(context: Context) -> list[HTTPRouteHandler]:
    @get(
        _MESSAGES,
        summary="List a page of a chat's messages, oldest first",
        description="Give one of `before`, `after` and `around`; without them, the page has the "
        "newest messages. A chat numbers its messages from 1.",
        operation_class=operation(
            parameters=[
                CHAT_ID,
                *PAGING,
                in_query(
                    "around",
                    "Half of the page has lower numbers, the rest starts at this number.",
                    number(0, MAX_INT64),
                ),
            ]
        ),
        responses=with_problems(MessagePage, 200, 404),
    )
    async def list_messages(request: UserRequest) -> ASGIApp:
        found = read_query(request, ("limit", "before", "after", "around"))
        cursors, limit = read_cursors(found), read_limit(found)
        chat = await context.messenger.chat(request.user, read_chat_id(request))
        page = await context.messenger.page(request.user, chat, limit=limit, **cursors)
        items = [message_item(chat, message) for message in page.messages]
        return Reply(200, encode(MessagePage(items, page.older, page.newer)))

    @get(
        _MESSAGES + "/{seq:str}",
        summary="Get one message",
        operation_class=operation(parameters=[CHAT_ID, SEQ]),
        responses=with_problems(V1Message, 200, 404),
    )
    async def show_message(request: UserRequest) -> ASGIApp:
        chat = await context.messenger.chat(request.user, read_chat_id(request))
        message = await context.messenger.message(request.user, chat, read_seq(request))
        return Reply(200, encode(message_item(chat, message)))

    return [list_messages, show_message]


def _send_routes(context: Context) -> list[HTTPRouteHandler]:
    @post(
        _MESSAGES,
        summary="Send a message",
        description="The idempotency key may be in the body or in the header.",
        operation_class=operation(
            body={"text": _TEXT, "idempotency_key": _KEY},
            optional=["idempotency_key"],
            parameters=[CHAT_ID, IDEMPOTENCY_KEY],
            headers={201: {"Idempotency-Replayed": "`true` if this repeats the first answer."}},
        ),
        responses=with_problems(V1Message, 201, 403, 404, 408, 413, 422),
    )
    async def send(request: UserRequest) -> ASGIApp:
        body = await read_body(request, decode_v1_message, context.body_seconds)
        chat = await context.messenger.chat(request.user, read_chat_id(request))
        key = read_key(request)
        if key is None:
            key = body.idempotency_key
        elif body.idempotency_key not in (None, key):
            raise InvalidKey("the header and the body have different idempotency keys")
        headers: Headers = ()
        if key is None:
            message = await context.messenger.send(request.user, chat, body.text)
        else:
            message, replayed = await context.messenger.send_once(
                request.user, chat, body.text, key
            )
            headers = [(b"idempotency-replayed", b"true")] if replayed else ()
        return Reply(201, encode(message_item(chat, message)), headers)

    return [send]
