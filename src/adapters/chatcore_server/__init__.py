"""The chatcore service: the composition root.

Its public parts are the `chatcore` command, the settings, and `chatcore_server.app:create` for
another ASGI server. Every other name is private.
"""

__all__: list[str] = []
