"""chatcore over HTTP, with Litestar: an application of its own, or a router to mount."""

from chatcore_litestar.app import chat_router, create_app
from chatcore_litestar.streams import Streams

__all__ = ["Streams", "chat_router", "create_app"]
