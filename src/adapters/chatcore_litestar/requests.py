"""What requests say, checked for form before the core sees it."""

import asyncio
import re
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException, InternalServerException

from chatcore.errors import InvalidKey, InvalidPage, Refused

MAX_BODY = 64 * 1024
BODY_SECONDS = 20
"""How long a client may take to send its body."""

MAX_LIMIT = 200
DEFAULT_LIMIT = 50
_PAGING = ("limit", "before", "after")
# int() also takes signs, underscores and every script's digits.
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)

T = TypeVar("T")


class MalformedBody(Refused):
    """The body is not the JSON that the route asks for."""

    code = "malformed_body"


class LoginBody(msgspec.Struct):
    username: str
    password: str


class MessageBody(msgspec.Struct):
    message: str


# They are given text, not bytes: msgspec does not look at the bytes of keys it has no use for,
# and a body that is not UTF-8 is not JSON (RFC 8259, section 8.1).
decode_login = msgspec.json.Decoder(LoginBody).decode
decode_message = msgspec.json.Decoder(MessageBody).decode


class Paging(msgspec.Struct, frozen=True):
    before: int | None
    after: int | None
    limit: int


async def read_body(request: Request[Any, Any, Any]) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.body()
    except TimeoutError:
        raise HTTPException(status_code=408, headers={"connection": "close"}) from None
    except InternalServerException:
        # Litestar's word for a client that left; nobody will read this, and it is no 500.
        raise HTTPException(status_code=400) from None


async def read_login(request: Request[Any, Any, Any]) -> LoginBody:
    """Raises MalformedBody."""
    body = await read_body(request)
    try:
        return decode_login(body.decode())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedBody from None


async def read_message(request: Request[Any, Any, Any]) -> str:
    """Raises MalformedBody."""
    body = await read_body(request)
    try:
        return decode_message(body.decode()).message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedBody from None


def read_key(request: Request[Any, Any, Any]) -> str | None:
    """The Idempotency-Key header, bare or in double quotes. Raises InvalidKey when it comes
    twice; what a key may hold is the core's business."""
    keys = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if not keys:
        return None
    if len(keys) > 1:
        raise InvalidKey("one idempotency key, please")
    key = keys[0].decode("latin-1")
    return key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key


def read_paging(request: Request[Any, Any, Any]) -> Paging | None:
    """The paging parameters; None when the query has none of them. Raises InvalidPage."""
    query = request.scope["query_string"]
    if not query:
        return None
    found: dict[str, int] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in _PAGING:
            if name in found or not _NUMBER.fullmatch(value):
                raise InvalidPage
            found[name] = int(value)
    if not found:
        return None
    limit = found.get("limit", DEFAULT_LIMIT)
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidPage
    return Paging(found.get("before"), found.get("after"), limit)
