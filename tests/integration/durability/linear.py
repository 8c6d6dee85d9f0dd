"""Whether overlapping calls can be put in an order that explains what they returned."""

from collections.abc import Callable, Sequence

from tests.integration.durability.model import Model, Told


def explain(model: Model, callers: Sequence[Sequence[Told]], found: Callable[[], bool]) -> bool:
    """Take the calls into the model, one after the other, in some order in which each has its
    outcome, each caller's stay in theirs, and `found` is true in the end. If there is none,
    leave the model as it was."""
    done = [0] * len(callers)
    # What has been taken, and the one part of the state that does not follow from it.
    hopeless: set[tuple[object, ...]] = set()

    def go_on() -> bool:
        state = (*done, *(account.password_hash for account in model.accounts.values()))
        if state in hopeless:
            return False
        finished = True
        for number, caller in enumerate(callers):
            if done[number] < len(caller):
                finished = False
                if (undo := model.accept(*caller[done[number]])) is not None:
                    done[number] += 1
                    if go_on():
                        return True
                    done[number] -= 1
                    undo()
        if finished and found():
            return True
        hopeless.add(state)
        return False

    return go_on()
