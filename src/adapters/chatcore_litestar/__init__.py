"""chatcore over HTTP with Litestar: a complete application, or a router to mount in yours."""

from chatcore_litestar.app import chat_router, create_app
from chatcore_litestar.streams import Streams

__all__ = ["Streams", "chat_router", "create_app"]
