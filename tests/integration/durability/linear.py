"""Whether some order of overlapping calls explains what they returned."""

from collections.abc import Callable, Sequence

from tests.integration.durability.model import Model, Observed


def explain(
    model: Model, callers: Sequence[Sequence[Observed]], found: Callable[[], bool]
) -> list[Observed] | None:
    """Apply the calls to the model in an order that keeps each caller's sequence, gives each call
    its outcome and makes `found` true at the end; return None. It may leave out optional calls.

    If there is no such order, leave the model unchanged and return the calls at which the longest
    attempt got stuck. An empty list means that only `found` was false.
    """
    done = [0] * len(callers)
    # The calls applied, and the parts of the state that do not follow from them.
    hopeless: set[tuple[object, ...]] = set()
    longest, stuck = -1, list[Observed]()

    def search() -> bool:
        nonlocal longest, stuck
        hashes = (account.password_hash for account in model.accounts.values())
        state = (*done, *hashes, *model.users.values())
        if state in hopeless:
            return False
        heads = [(n, calls[done[n]]) for n, calls in enumerate(callers) if done[n] < len(calls)]
        for number, observed in heads:
            if (undo := model.accept(observed)) is not None:
                done[number] += 1
                if search():
                    return True
                done[number] -= 1
                undo()
            if observed.optional:
                done[number] += 1
                if search():
                    return True
                done[number] -= 1
        if not heads and found():
            return True
        hopeless.add(state)
        if sum(done) > longest:
            longest, stuck = sum(done), [observed for _, observed in heads]
        return False

    return None if search() else stuck
