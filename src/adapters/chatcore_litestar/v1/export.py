"""`GET /v1/me/export`: the user's data as JSON Lines."""

from collections.abc import AsyncIterator, Sequence
from functools import partial

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ASGIApp

from chatcore import Chat, ChatState, Message, User
from chatcore.exporting import Blocked, History, Piece, Totals, export
from chatcore_litestar.context import Context
from chatcore_litestar.openapi import operation, with_problems
from chatcore_litestar.replies import Streamed, encode_lines
from chatcore_litestar.requests import UserRequest
from chatcore_litestar.streams import LONG_RUNNING
from chatcore_litestar.v1.items import sent_at
from chatcore_litestar.v1.sessions import shown

_HEADERS = [
    (b"content-type", b"application/jsonl"),
    (b"content-disposition", b'attachment; filename="chatcore.jsonl"'),
]


class UserLine(msgspec.Struct, tag="user"):
    """The first line: the user who exports."""

    user: str
    handle: str


class SessionLine(msgspec.Struct, tag="session"):
    """A device on which the user is signed in."""

    session_id: str
    device: str
    created_at: str
    used_at: str


class BlockLine(msgspec.Struct, tag="block"):
    user: str
    """A user that the exporting user blocks."""
    handle: str


class ChatLine(msgspec.Struct, tag="chat"):
    """A chat; the lines of its messages follow."""

    chat_id: int
    user: str
    """The peer."""
    read_seq: int
    peer_read_seq: int
    handle: str


class MessageLine(msgspec.Struct, tag="message"):
    chat_id: int
    seq: int
    sender: str
    text: str
    sent_at: str
    handle: str
    """The sender's."""


class EndLine(msgspec.Struct, tag="end"):
    """The last line: how many chats and messages the export has."""

    chats: int
    messages: int


Line = UserLine | SessionLine | BlockLine | ChatLine | MessageLine | EndLine


def export_routes(context: Context) -> list[HTTPRouteHandler]:
    @get(
        "/me/export",
        summary="Export my data",
        description="JSON Lines, each an object with a `type`: `user`; a `session` for each "
        "device on which I am signed in; a `block` for each user I block; each `chat`, followed by "
        "its `message`s; `end`, with the totals.",
        operation_class=operation(
            headers={200: {"Content-Disposition": "`attachment`, with a file name."}}
        ),
        responses=with_problems(None, 200)
        | {200: ResponseSpec(bytes, False, "OK", "application/jsonl")},
    )
    async def export_mine(request: UserRequest) -> ASGIApp:
        user = request.user
        pieces = export(context.messenger, user)
        # Before the head, so that a failing store is a 503. The first piece does not read from it.
        first, second = await anext(pieces), await anext(pieces)
        sessions = await _sessions(context, user)
        request.scope[LONG_RUNNING] = True  # type: ignore[literal-required]

        async def encoded() -> AsyncIterator[bytes]:
            for lines in (_lines(first, user), sessions, _lines(second, user)):
                yield encode_lines(lines)
            async for piece in pieces:
                yield encode_lines(_lines(piece, user))

        # An export that is cut off also lacks its `end` line.
        authenticate = partial(context.sessions.find, request.auth.credential)
        return Streamed(encoded(), context.send_seconds, _HEADERS, authenticate)

    return [export_mine]


async def _sessions(context: Context, user: User) -> Sequence[Line]:
    if not context.has_accounts:
        return ()
    return [
        SessionLine(each.id, each.device, shown(each.created_at), shown(each.used_at))
        for each in await context.accounts.devices.sessions(user)
    ]


def _lines(piece: Piece, user: User) -> Sequence[Line]:
    """Write a piece of the export of `user` as lines."""
    if isinstance(piece, History):
        return [_message_line(piece.chat, message) for message in piece.messages]
    if isinstance(piece, ChatState):
        chat, peer = piece.chat, piece.chat.peer_of(user)
        return [ChatLine(chat.id, peer.name, piece.read_seq, piece.peer_read_seq, peer.handle)]
    if isinstance(piece, Blocked):
        return [BlockLine(blocked.name, blocked.handle) for blocked in piece.users]
    if isinstance(piece, Totals):
        return [EndLine(piece.chats, piece.messages)]
    return [UserLine(piece.name, piece.handle)]


def _message_line(chat: Chat, message: Message) -> MessageLine:
    sender = chat.sender_of(message)
    return MessageLine(
        chat.id, message.seq, sender.name, message.text, sent_at(message), sender.handle
    )
