"""OPTIONS, where several handlers share a path."""

from litestar import Response, route
from litestar.handlers import HTTPRouteHandler

from chatcore_litestar.replies import SAFETY_BY_NAME


def options(path: str, *methods: str) -> HTTPRouteHandler:
    """Answers which methods there are. It has to come before their handlers: Litestar's own
    would know of the first of them alone."""
    allow = ", ".join(sorted([*methods, "OPTIONS"]))

    @route(path, http_method="OPTIONS", include_in_schema=False)
    async def allowed() -> Response[None]:
        return Response(None, status_code=204, headers=SAFETY_BY_NAME | {"allow": allow})

    return allowed
