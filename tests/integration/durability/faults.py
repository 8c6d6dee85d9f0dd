"""Makes the disk fail."""

from collections.abc import Callable, Container
from dataclasses import dataclass, field

from tests.integration.durability.vfs import ERRORS, Operation


@dataclass
class Faults:
    """A layer that fails the operations for whose number, from 1, `failing` returns true."""

    failing: Callable[[int], bool]
    armed: bool = False
    kinds: Container[str] = frozenset(ERRORS)
    count: int = 0
    injected: list[Operation] = field(default_factory=list)

    def layer(self, operation: Operation, proceed: Callable[[], int]) -> int:
        if self.armed and operation.kind in self.kinds:
            self.count += 1
            if self.failing(self.count):
                self.injected.append(operation)
                return ERRORS[operation.kind]
        return proceed()
