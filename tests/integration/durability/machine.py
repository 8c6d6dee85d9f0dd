"""A Hypothesis state machine that drives a store through its port."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from chatcore.ports import MAX_PAGE
from tests.integration.durability.backends import Backend
from tests.integration.durability.calls import NAMES, Caller, Plan, contested, numbers, plans
from tests.integration.durability.model import Call, Observed
from tests.integration.durability.session_model import SessionPlan, session_plans
from tests.integration.durability.witness import Unexplained, Witness

T = TypeVar("T")

overlapping_sessions = st.lists(
    st.lists(session_plans, min_size=1, max_size=3), min_size=1, max_size=4
)
overlapping = st.lists(st.lists(plans, min_size=1, max_size=3), min_size=2, max_size=5)


class StoreMachine(RuleBasedStateMachine):
    """Every rule is a step of overlapping calls, and the model must explain each step."""

    backend: Callable[[], Backend]
    steps = 0
    calls = 0
    failure: Exception | None = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.owner = type(self).backend()
        self.witness = Witness(self.run(self.owner.open()))
        self.caller = Caller(self.witness.model)

    def teardown(self) -> None:
        self.run(self.owner.close())
        self.runner.close()

    @initialize()
    def two_who_chat(self) -> None:
        self.step([[self.caller.add_user(NAMES[0]), self.caller.add_user(NAMES[2])]])
        self.step([[self.caller.open_chat(*self.witness.model.accounts)]])

    @rule(plan=plans)
    def one_call(self, plan: Plan) -> None:
        self.step([[plan]])

    @rule(callers=overlapping)
    def overlapping_calls(self, callers: list[list[Plan]]) -> None:
        self.step(callers)

    # Never cut off: the port does not show which token a session waits for.
    @rule(callers=overlapping_sessions)
    def sessions(self, callers: list[list[SessionPlan]]) -> None:
        self.step(callers)

    @rule(plan=session_plans, size=st.integers(2, 6))
    def one_renewal(self, plan: SessionPlan, size: int) -> None:
        self.step([[plan._replace(method="renew_session")] for _ in range(size)])

    @rule(plan=contested, size=st.integers(2, 6))
    def one_winner(self, plan: Plan, size: int) -> None:
        sides = [plan, plan]
        if plan.method == "open_chat":
            sides[1] = plan._replace(first=plan.second, second=plan.first)
        self.step([[sides[number % 2]] for number in range(size)])

    @rule(callers=overlapping, patience=st.dictionaries(st.integers(0, 4), st.integers(0, 12)))
    def cancelled_callers(self, callers: list[list[Plan]], patience: dict[int, int]) -> None:
        self.step(callers, patience)

    @rule(callers=overlapping, seed=st.integers(0, 1000))
    def failing_store(self, callers: list[list[Plan]], seed: int) -> None:
        self.step(callers, failing=self.owner.failing(seed))

    @rule(number=numbers, size=st.integers(2, 100))
    def burst(self, number: int, size: int) -> None:
        chat = self.caller.chat(number)
        senders = [chat.users[number % 2].id for number in range(size)]
        self.step([[self.caller.append(chat.id, sender_id)] for sender_id in senders])

    @rule(number=numbers, limit=st.integers(1, 3))
    def list_in_pages(self, number: int, limit: int) -> None:
        def page(before: int | None, limit: int) -> list[Call]:
            options = {"before": before, "limit": limit}
            return [Call("chats_of", (self.caller.user_id(number),), options)]

        [[(_, everything, *_)]] = self.step([page(None, MAX_PAGE)])
        ends = [summary.activity for summary in everything[limit - 1 :: limit]]
        self.step([page(before, limit) for before in (None, *ends)])

    @precondition(lambda self: self.owner.persistent)
    @rule()
    def reopen(self) -> None:
        self.run(self.owner.close())
        self.witness.store = self.run(self.owner.open())
        self.step([])
        # Closing has completed or discarded every call under way.
        self.witness.limbo.clear()

    def step(
        self,
        callers: Sequence[Sequence[Plan | SessionPlan | Call]],
        patience: Mapping[int, int] | None = None,
        failing: contextlib.AbstractContextManager[None] | None = None,
    ) -> list[list[Observed]]:
        calls = [
            [one if isinstance(one, Call) else self.caller.call(one) for one in caller]
            for caller in callers
        ]
        type(self).steps += 1
        type(self).calls += sum(map(len, calls))

        async def step() -> list[list[Observed]]:
            with failing or contextlib.nullcontext():
                self.witness.unavailable.clear()
                observed = await self.witness.make(calls, patience or {})
                if self.witness.unavailable and failing is None:
                    raise Unexplained(f"nothing fails, but {self.witness.unavailable}")
            await self.owner.settled()
            await self.witness.settle(observed)
            await self.witness.judge(observed)
            return observed

        return self.run(step())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self.runner.run(work)
        except Exception as error:
            type(self).failure = error
            raise
