"""chatcore in an ASGI application: FastAPI, Starlette, Django and others.

A composition root: it serves what `chatcore_litestar_plugin` opens, without a Litestar application
of the host's.
"""

from chatcore_asgi.app import ChatApp
from chatcore_litestar_plugin import ChatConfig

__all__ = ["ChatApp", "ChatConfig"]
