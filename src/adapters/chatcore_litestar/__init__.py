"""chatcore over HTTP with Litestar: a complete application, or a router to mount in yours."""

from chatcore_litestar.app import chat_router, create_app
from chatcore_litestar.request_user import RequestUser
from chatcore_litestar.streams import Streams

__all__ = ["RequestUser", "Streams", "chat_router", "create_app"]
