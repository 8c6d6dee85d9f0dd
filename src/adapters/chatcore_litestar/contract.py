"""The fixed routes: six routes that an external contract prescribes.

A customer's document fixes their paths, statuses, JSON keys and error texts, and their clients
depend on them, so none of these ever changes. New features go under /v1.
"""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp

from chatcore import Chat, Message, Page, User
from chatcore.model import MAX_INT64
from chatcore_litestar.context import Context
from chatcore_litestar.openapi import (
    CREDENTIALS,
    IDEMPOTENCY_KEY,
    MESSAGE,
    NEW_ACCOUNT,
    PAGING,
    operation,
    with_errors,
)
from chatcore_litestar.replies import Headers, Reply, Streamed, encode, joined
from chatcore_litestar.requests import (
    Paging,
    UserRequest,
    decode_login,
    decode_message,
    read_body,
    read_key,
    read_paging,
)


class Registered(msgspec.Struct):
    message: str


class Token(msgspec.Struct):
    token: str


class ChatItem(msgspec.Struct):
    chat_id: int
    user: str


class MessageItem(msgspec.Struct):
    sender: str
    message: str


REGISTERED = encode(Registered("User registered successfully"))


def account_routes(context: Context) -> list[HTTPRouteHandler]:
    @post(
        "/register",
        opt={"refusal": (400, "Username already exists or invalid data")},
        summary="Create an account",
        description="Names that differ only in case or in Unicode normal form are the same name.",
        operation_class=operation(body=NEW_ACCOUNT),
        responses=with_errors(Registered, 201, 400, 408, 413, 429),
    )
    async def register(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_body(request, decode_login, context.body_seconds, of_any_type=True)
        address = context.address_of(request.scope)
        await context.accounts.register(body.username, body.password, address=address)
        return Reply(201, REGISTERED)

    @post(
        "/login",
        status_code=200,
        opt={"refusal": (401, "Invalid username or password")},
        summary="Get a token, valid for 12 hours",
        operation_class=operation(body=CREDENTIALS),
        responses=with_errors(Token, 200, 401, 408, 413, 429),
    )
    async def login(request: Request[Any, Any, Any]) -> ASGIApp:
        body = await read_body(request, decode_login, context.body_seconds, of_any_type=True)
        address = context.address_of(request.scope)
        token = await context.accounts.log_in(body.username, body.password, address=address)
        return Reply(200, encode(Token(token)))

    return [register, login]


def chat_routes(context: Context) -> list[HTTPRouteHandler]:
    """Routes that need `authentication` on their router."""
    return [*_list_routes(context), *_message_routes(context)]


def _list_routes(context: Context) -> list[HTTPRouteHandler]:
    @get(
        "/chats",
        summary="List my chats, the most recently active first",
        operation_class=operation(),
        responses=with_errors(list[ChatItem], 200, 401),
    )
    async def list_chats(request: UserRequest) -> ASGIApp:
        user = request.user
        summaries = await context.messenger.list_chats(user)
        peers = [summary.chat.peer_of(user) for summary in summaries]
        # As `_shown`, without a call for each item.
        items = [
            ChatItem(summary.chat.id, peer.handle if peer.realm else peer.name)
            for summary, peer in zip(summaries, peers, strict=True)
        ]
        return Reply(200, encode(items))

    @post(
        "/chat/{user_name:str}",
        opt={"refusal": (400, "Chat already exists or invalid user")},
        summary="Open a chat with a user",
        description="Two users share one chat; either of them may open it.",
        operation_class=operation(),
        responses=with_errors(ChatItem, 201, 400, 401),
    )
    async def open_chat(request: UserRequest, user_name: FromPath[str]) -> ASGIApp:
        user, messenger = request.user, context.messenger
        peer = await messenger.find_user(_handle(user, user_name), realm=user.realm)
        chat = await messenger.open_chat(user, peer)
        return Reply(201, encode(ChatItem(chat.id, _shown(peer))))

    return [list_chats, open_chat]


_SENDING: dict[str, Any] = {
    "opt": {"refusal": (400, "Invalid message or chat not found")},
    "summary": "Send a message to a user with whom I have a chat",
    "operation_class": operation(
        body=MESSAGE,
        parameters=[IDEMPOTENCY_KEY],
        headers={201: {"Idempotency-Replayed": "`true` if this repeats the first answer."}},
    ),
    "responses": with_errors(MessageItem, 201, 400, 401, 408, 413),
}
_READING: dict[str, Any] = {
    "opt": {"refusal": (404, "Chat not found")},
    "summary": "Read the messages of a chat, oldest first",
    "description": "Without parameters, all messages. With any of them, a page: the newest "
    "messages, or those before or after a number. A chat numbers its messages from 1.",
    "operation_class": operation(
        parameters=PAGING,
        headers={
            200: {"Link": "`prev`, the page of older messages; `next`, the page of newer ones."}
        },
    ),
    "responses": with_errors(list[MessageItem], 200, 400, 401, 404),
}


def _message_routes(context: Context) -> list[HTTPRouteHandler]:
    @post("/chats/{user_name:str}/messages", **_SENDING)
    async def send(request: UserRequest, user_name: FromPath[str]) -> ASGIApp:
        return await _send(context, request, user_name)

    @get("/chats/messages/{user_name:str}", **_READING)
    async def read(request: UserRequest, user_name: FromPath[str]) -> ASGIApp:
        return await _read(context, request, user_name)

    # Both routes above match this path, and Litestar prefers a static segment to a parameter:
    # without these two handlers, the user named "messages" could not be reached.
    @post("/chats/messages/messages", include_in_schema=False, **_SENDING)
    async def send_to_messages(request: UserRequest) -> ASGIApp:
        return await _send(context, request, "messages")

    @get("/chats/messages/messages", include_in_schema=False, **_READING)
    async def read_from_messages(request: UserRequest) -> ASGIApp:
        return await _read(context, request, "messages")

    return [send, read, send_to_messages, read_from_messages]


async def _send(context: Context, request: UserRequest, user_name: str) -> ASGIApp:
    messenger = context.messenger
    body = await read_body(request, decode_message, context.body_seconds, of_any_type=True)
    key = read_key(request)
    user = request.user
    chat = await messenger.chat_with(user, _handle(user, user_name))
    headers: Headers = ()
    if key is None:
        message = await messenger.send(user, chat, body.message)
    else:
        message, replayed = await messenger.send_once(user, chat, body.message, key)
        headers = [(b"idempotency-replayed", b"true")] if replayed else ()
    return Reply(201, encode(_items(chat, [message])[0]), headers)


async def _read(context: Context, request: UserRequest, user_name: str) -> ASGIApp:
    messenger = context.messenger
    paging = read_paging(request)
    user = request.user
    chat = await messenger.chat_with(user, _handle(user, user_name))
    if paging is not None:
        page = await messenger.page(
            user, chat, before=paging.before, after=paging.after, limit=paging.limit
        )
        return Reply(200, encode(_items(chat, page.messages)), _links(page, paging))
    return await _whole_history(context, request, chat)


async def _whole_history(context: Context, request: UserRequest, chat: Chat) -> ASGIApp:
    pieces = context.messenger.history(request.user, chat)
    first = await anext(pieces, None)
    second = await anext(pieces, None)
    if first is None or second is None:
        return Reply(200, encode(_items(chat, first or ())))

    async def encoded() -> AsyncIterator[bytes]:
        for piece in (first, second):
            yield encode(_items(chat, piece))
        async for piece in pieces:
            yield encode(_items(chat, piece))

    authenticate = partial(context.sessions.find, request.auth.credential)
    return Streamed(joined(encoded()), context.send_seconds, authenticate=authenticate)


def _items(chat: Chat, messages: Sequence[Message]) -> list[MessageItem]:
    names = {user.id: _shown(user) for user in chat.users}
    return [MessageItem(names[message.sender_id], message.text) for message in messages]


def _shown(user: User) -> str:
    """Return the text that the contract calls the user's name: also the one to send in a path, so
    for a host's user, whose name need not be unique, it is the handle."""
    return user.handle if user.realm else user.name


def _links(page: Page, paging: Paging) -> Headers:
    """The Link header (RFC 8288). Its targets are relative, so they hold wherever the router is
    mounted."""
    links = []
    if page.older:
        before = page.messages[0].seq if page.messages else min((paging.after or 0) + 1, MAX_INT64)
        links.append(f'<?limit={paging.limit}&before={before}>; rel="prev"')
    if page.newer:
        after = page.messages[-1].seq if page.messages else max((paging.before or 0) - 1, 0)
        links.append(f'<?limit={paging.limit}&after={after}>; rel="next"')
    return [(b"link", ", ".join(links).encode())] if links else ()


def _handle(user: User, segment: str) -> str:
    """Return the handle in the path. Of a name, drop one leading colon: the contract once wrote the
    routes as `/chat/:{user_name}`. The handle of a host's user may begin with a colon."""
    return segment if user.realm else segment.removeprefix(":")
