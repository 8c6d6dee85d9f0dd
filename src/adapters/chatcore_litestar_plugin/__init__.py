"""chatcore in a Litestar application: a plugin that opens the chat, serves it and closes it.

A composition root: `chatcore_litestar` has the routes, this package chooses what is behind them.
"""

from chatcore_litestar_plugin.config import ChatConfig
from chatcore_litestar_plugin.plugin import ChatPlugin

__all__ = ["ChatConfig", "ChatPlugin"]
