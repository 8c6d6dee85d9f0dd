"""Decode requests and check their form before they reach the core."""

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote_plus

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException

from chatcore import User
from chatcore.errors import ChatNotFound, InvalidKey, InvalidPage, MessageNotFound, Refused
from chatcore.model import MAX_INT64
from chatcore_litestar.errors import BodyRefused

MAX_BODY = 64 * 1024

MAX_LIMIT = 200
DEFAULT_LIMIT = 50
_CHARSETS = {"", "charset=utf-8", 'charset="utf-8"'}
_PAGING = ("limit", "before", "after")
# int() also accepts signs, underscores and the digits of every script.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

T = TypeVar("T")


class MalformedBody(Refused):
    """The body is not the JSON that the route requires."""

    code = "malformed_body"


class UnsupportedType(MalformedBody):
    """The headers declare a body that is not JSON in UTF-8."""

    code = "unsupported_media_type"


UserRequest = Request[User, Any, Any]


class LoginBody(msgspec.Struct):
    username: str
    password: str


class MessageBody(msgspec.Struct):
    message: str


class V1MessageBody(msgspec.Struct):
    text: str
    idempotency_key: str | None = None


class ReadBody(msgspec.Struct):
    seq: int


class PasswordChangeBody(msgspec.Struct):
    current_password: str
    new_password: str


class PasswordBody(msgspec.Struct):
    password: str


class SignInBody(msgspec.Struct):
    username: str
    password: str
    device: str


class RefreshBody(msgspec.Struct):
    refresh_token: str


decode_login = msgspec.json.Decoder(LoginBody).decode
decode_message = msgspec.json.Decoder(MessageBody).decode
decode_v1_message = msgspec.json.Decoder(V1MessageBody).decode
decode_read = msgspec.json.Decoder(ReadBody).decode
decode_password_change = msgspec.json.Decoder(PasswordChangeBody).decode
decode_password = msgspec.json.Decoder(PasswordBody).decode
decode_sign_in = msgspec.json.Decoder(SignInBody).decode
decode_refresh = msgspec.json.Decoder(RefreshBody).decode


class Paging(msgspec.Struct, frozen=True):
    before: int | None
    after: int | None
    limit: int


async def read_body(
    request: Request[Any, Any, Any],
    decode: Callable[[str], T],
    seconds: float,
    *,
    of_any_type: bool = False,
) -> T:
    """Read and decode the body, which must arrive within `seconds`.

    Unless `of_any_type`, its Content-Type must be JSON or absent. Raises MalformedBody,
    UnsupportedType, BodyRefused.
    """
    for name, value in request.scope["headers"]:
        # Absent is safe: a page of another origin can send an untyped body, but no token with it.
        if name == b"content-type" and value != b"application/json":
            check_type(value, of_any_type=of_any_type)
        elif name == b"content-encoding" and value.lower() not in {b"", b"identity"}:
            raise UnsupportedType("send the body without a Content-Encoding")
    try:
        async with asyncio.timeout(seconds):
            body = await request.body()
    except TimeoutError:
        raise BodyRefused(408, {"connection": "close"}) from None
    except HTTPException as error:
        # 413, or Litestar's 500 for a client that disconnected, which is no server error.
        raise BodyRefused(413 if error.status_code == 413 else 400) from None
    try:
        # Decode to text first: msgspec does not check the bytes of unknown keys, and JSON must be
        # UTF-8 (RFC 8259, section 8.1). The same section allows ignoring a byte order mark, which
        # some libraries write.
        return decode(body.removeprefix(_BYTE_ORDER_MARK).decode())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedBody from None


def check_type(value: bytes, *, of_any_type: bool = False) -> None:
    """Check a Content-Type (RFC 9110, section 8.3.1), which must be JSON unless `of_any_type`. JSON
    is UTF-8 (RFC 8259, section 8.1), so no other charset is accepted. Raises UnsupportedType."""
    kind, *parameters = value.decode("latin-1").lower().replace(" ", "").split(";")
    if of_any_type:
        refused = any(each not in _CHARSETS for each in parameters if each.startswith("charset="))
    else:
        refused = kind != "application/json" or any(each not in _CHARSETS for each in parameters)
    if refused:
        raise UnsupportedType("the Content-Type must be application/json in UTF-8")


def read_key(request: Request[Any, Any, Any]) -> str | None:
    """Read the Idempotency-Key header, bare or in double quotes. Raises InvalidKey if it is
    repeated; the core checks the key itself."""
    keys = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    if not keys:
        return None
    if len(keys) > 1:
        raise InvalidKey("the Idempotency-Key header is repeated; send it once")
    key = keys[0].decode("latin-1").strip(" \t")
    return key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key


def read_query(request: Request[Any, Any, Any], names: Sequence[str]) -> dict[str, str]:
    """Read the query parameters of these names. Raises InvalidPage if one is repeated."""
    found: dict[str, str] = {}
    # parse_qsl would take three times as long: a tenth of a page's cost.
    for field in request.scope["query_string"].decode("latin-1").split("&"):
        name, _, value = map(unquote_plus, field.partition("="))
        if name in names:
            if name in found:
                raise InvalidPage
            found[name] = value
    return found


def read_number(text: str) -> int:
    """Parse a decimal number without a sign or leading zeros. Raises InvalidPage."""
    if not _NUMBER.fullmatch(text):
        raise InvalidPage
    return int(text)


def read_handle(request: UserRequest) -> str:
    """Read the handle of a peer: the parameter `handle` of the query, else the segment of the path.
    Raises InvalidPage if the parameter is repeated."""
    in_path: str = request.path_params["user_name"]
    return read_query(request, ("handle",)).get("handle", in_path)


def read_chat_id(request: UserRequest) -> int:
    """Read the chat id in the path. Raises ChatNotFound if it is not a valid id."""
    if (chat_id := _path_number(request, "chat_id")) is None:
        raise ChatNotFound
    return chat_id


def read_seq(request: UserRequest) -> int:
    """Read the message number in the path. Raises MessageNotFound if it is not a valid number."""
    if (seq := _path_number(request, "seq")) is None:
        raise MessageNotFound
    return seq


def _path_number(request: UserRequest, name: str) -> int | None:
    segment = request.path_params[name]
    number = int(segment) if _NUMBER.fullmatch(segment) else 0
    return number if 1 <= number <= MAX_INT64 else None


def read_limit(found: dict[str, str]) -> int:
    """Read the maximum number of items on a page. Raises InvalidPage."""
    limit = read_number(found["limit"]) if "limit" in found else DEFAULT_LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidPage
    return limit


def read_cursors(found: dict[str, str]) -> dict[str, int]:
    """Parse all parameters but `limit`. Raises InvalidPage."""
    return {name: read_number(text) for name, text in found.items() if name != "limit"}


def read_place(sign: str, text: str) -> int:
    """Parse a list position, such as `a17`: the sign and a number. Clients treat it as opaque.
    Raises InvalidPage."""
    if not text.startswith(sign):
        raise InvalidPage
    return read_number(text[len(sign) :])


def read_paging(request: Request[Any, Any, Any]) -> Paging | None:
    """Read the paging parameters; None if the query has none of them. Raises InvalidPage."""
    if not request.scope["query_string"] or not (found := read_query(request, _PAGING)):
        return None
    cursors = read_cursors(found)
    return Paging(cursors.get("before"), cursors.get("after"), read_limit(found))
