"""The routes under /v1/blocks: of whom I want to hear nothing more."""

import msgspec
from litestar import Response, delete, get, put
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from chatcore_litestar.context import Context
from chatcore_litestar.openapi import TEXT, USER_NAME, in_query, limit_on, operation, with_problems
from chatcore_litestar.options import options
from chatcore_litestar.replies import Reply, done, encode
from chatcore_litestar.requests import UserRequest, read_limit, read_place, read_query


class Block(msgspec.Struct):
    user: str


class BlockPage(msgspec.Struct):
    blocks: list[Block]
    after: str | None
    """What to ask for next."""


def block_routes(context: Context) -> list[HTTPRouteHandler]:
    messenger = context.messenger

    @get(
        "/blocks",
        summary="Whom I block",
        operation_class=operation(
            parameters=[
                limit_on("users"),
                in_query("after", "The `after` of the page before, as it is.", TEXT),
            ]
        ),
        responses=with_problems(BlockPage, 200),
    )
    async def list_blocks(request: UserRequest) -> ASGIApp:
        found = read_query(request, ("limit", "after"))
        limit = read_limit(found)
        after = read_place("b", found["after"]) if "after" in found else 0
        # One more than asked for tells whether anything follows.
        users = await messenger.blocked_by(request.user, after=after, limit=limit + 1)
        items = [Block(user.name) for user in users[:limit]]
        more = len(users) > limit
        return Reply(200, encode(BlockPage(items, f"b{users[limit - 1].id}" if more else None)))

    @put(
        "/blocks/{user_name:str}",
        status_code=204,
        summary="Block a user",
        description="From now on neither of us hears from the other: no chat is opened, no "
        "message sent, no read marker told. The user is not told, and our chat can still be read.",
        operation_class=operation(parameters=[USER_NAME]),
        responses=with_problems(None, 204, 404, 422),
    )
    async def block(request: UserRequest) -> Response[None]:
        peer = await messenger.find_user(request.path_params["user_name"])
        await messenger.block(request.user, peer)
        return done()

    @delete(
        "/blocks/{user_name:str}",
        status_code=204,
        summary="End a block, if there is one",
        operation_class=operation(parameters=[USER_NAME]),
        responses=with_problems(None, 204, 404),
    )
    async def unblock(request: UserRequest) -> Response[None]:
        peer = await messenger.find_user(request.path_params["user_name"])
        await messenger.unblock(request.user, peer)
        return done()

    return [options("/blocks/{user_name:str}", "PUT", "DELETE"), list_blocks, block, unblock]
