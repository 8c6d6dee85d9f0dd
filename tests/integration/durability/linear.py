"""Whether overlapping calls can be put in an order that explains what they returned."""

from collections.abc import Callable, Sequence

from tests.integration.durability.model import Model, Told


def explain(
    model: Model, callers: Sequence[Sequence[Told]], found: Callable[[], bool]
) -> list[Told] | None:
    """Take the calls into the model, one after the other, in some order in which each has its
    outcome, each caller's stay in theirs, and `found` is true in the end; return None.

    If there is no such order, leave the model as it was and return the calls at which the
    longest attempt got stuck; none of them means that it was the end that was not `found`.
    """
    done = [0] * len(callers)
    # What has been taken, and the one part of the state that does not follow from it.
    hopeless: set[tuple[object, ...]] = set()
    longest, stuck = -1, list[Told]()

    def go_on() -> bool:
        nonlocal longest, stuck
        state = (*done, *(account.password_hash for account in model.accounts.values()))
        if state in hopeless:
            return False
        heads = [(n, calls[done[n]]) for n, calls in enumerate(callers) if done[n] < len(calls)]
        for number, told in heads:
            if (undo := model.accept(told)) is not None:
                done[number] += 1
                if go_on():
                    return True
                done[number] -= 1
                undo()
        if not heads and found():
            return True
        hopeless.add(state)
        if sum(done) > longest:
            longest, stuck = sum(done), [told for _, told in heads]
        return False

    return None if go_on() else stuck
