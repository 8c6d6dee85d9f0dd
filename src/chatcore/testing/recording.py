"""What a check called last, for the message of a check that stops there."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from chatcore.testing.faults import READS, WRITES

_METHODS = READS | WRITES | {"ring", "listen", "hash", "verify", "needs_rehash", "issue"}
"""The methods of all ports that have checks."""


class LastCall:
    """Remembers the newest call of the adapters that it passes on."""

    def __init__(self) -> None:
        self._call: tuple[str, tuple[Any, ...], dict[str, Any]] | None = None

    def __str__(self) -> str:
        if self._call is None:
            return "before any call"
        name, arguments, options = self._call
        shown = [f"{it!a:.80}" for it in arguments]
        shown += [f"{option}={value!a:.80}" for option, value in options.items()]
        return f"after {name}({', '.join(shown)})"

    def of(self, adapter: Any) -> Any:
        """Return an adapter that calls `adapter`. Of a function that makes adapters, return one
        that makes such adapters."""
        # Methods of the class: for `isinstance` with a Protocol, an instance's own do not count.
        methods = (
            {}
            if isinstance(adapter, type)
            else {
                name: self._recorded(name, method)
                for name in _METHODS
                if callable(method := getattr(adapter, name, None))
            }
        )
        if not methods and callable(adapter):
            return lambda: self.of(adapter())
        return type(type(adapter).__name__, (), methods)()

    def _recorded(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(_: object, *arguments: Any, **options: Any) -> Any:
            self._call = name, arguments, options
            return method(*arguments, **options)

        return call
