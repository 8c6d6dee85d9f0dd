"""The routes under /v1/blocks: list, add and remove the users I block."""

import msgspec
from litestar import Response, delete, get, put
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from chatcore import User
from chatcore_litestar.context import Context
from chatcore_litestar.openapi import (
    HANDLE,
    TEXT,
    USER_NAME,
    in_query,
    limit_on,
    operation,
    with_problems,
)
from chatcore_litestar.options import options
from chatcore_litestar.replies import Reply, done, encode
from chatcore_litestar.requests import UserRequest, read_handle, read_limit, read_place, read_query


class Block(msgspec.Struct):
    user: str
    handle: str


class BlockPage(msgspec.Struct):
    blocks: list[Block]
    after: str | None
    """The `after` of the next page; None on the last."""


def block_routes(context: Context) -> list[HTTPRouteHandler]:
    async def find_peer(request: UserRequest) -> User:
        handle = read_handle(request)
        return await context.messenger.find_user(handle, realm=request.user.realm)

    @get(
        "/blocks",
        summary="List the users I block",
        operation_class=operation(
            parameters=[
                limit_on("users"),
                in_query("after", "The `after` of the previous page, unchanged.", TEXT),
            ]
        ),
        responses=with_problems(BlockPage, 200),
    )
    async def list_blocks(request: UserRequest) -> ASGIApp:
        found = read_query(request, ("limit", "after"))
        limit = read_limit(found)
        after = read_place("b", found["after"]) if "after" in found else 0
        # One extra item shows whether another page follows.
        users = await context.messenger.blocked_by(request.user, after=after, limit=limit + 1)
        items = [Block(user.name, user.handle) for user in users[:limit]]
        more = len(users) > limit
        return Reply(200, encode(BlockPage(items, f"b{users[limit - 1].id}" if more else None)))

    @put(
        "/blocks/{user_name:str}",
        status_code=204,
        summary="Block a user",
        description="Neither of us can open a chat with the other, send to the other, or see the "
        "other's read marker move. The user is not notified. Our chat stays readable.",
        operation_class=operation(parameters=[USER_NAME, HANDLE]),
        responses=with_problems(None, 204, 404, 422),
    )
    async def block(request: UserRequest) -> Response[None]:
        await context.messenger.block(request.user, await find_peer(request))
        return done()

    @delete(
        "/blocks/{user_name:str}",
        status_code=204,
        summary="Unblock a user",
        operation_class=operation(parameters=[USER_NAME, HANDLE]),
        responses=with_problems(None, 204, 404),
    )
    async def unblock(request: UserRequest) -> Response[None]:
        await context.messenger.unblock(request.user, await find_peer(request))
        return done()

    return [options("/blocks/{user_name:str}", "PUT", "DELETE"), list_blocks, block, unblock]
