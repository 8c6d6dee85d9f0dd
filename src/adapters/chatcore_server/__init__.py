"""The chatcore service: the composition root.

Public are the `chatcore` command, its settings, and `chatcore_server.app:create` for another ASGI
server. No other module promises anything to an embedder.
"""

__all__: list[str] = []
