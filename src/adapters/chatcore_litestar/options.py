"""OPTIONS for paths that several handlers share."""

from litestar import Response, route
from litestar.handlers import HTTPRouteHandler

from chatcore_litestar.replies import SAFETY_BY_NAME


def options(path: str, *methods: str) -> HTTPRouteHandler:
    """Answer with the methods of a path. Register it before their handlers: Litestar's own
    OPTIONS handler would list only the first one's."""
    allow = ", ".join(sorted([*methods, "OPTIONS"]))

    @route(path, http_method="OPTIONS", include_in_schema=False)
    async def allowed() -> Response[None]:
        return Response(None, status_code=204, headers=SAFETY_BY_NAME | {"allow": allow})

    return allowed
