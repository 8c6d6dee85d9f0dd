"""The host's policy: when it is asked, and what its answers do."""

import asyncio
import copy
import gc
import pickle
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from chatcore import (
    Actor,
    Allow,
    Chat,
    ChatExists,
    ChatNotFound,
    Draft,
    InvalidKey,
    InvalidText,
    KeyReused,
    Messenger,
    NewMessage,
    PolicyRefused,
    PolicyUnavailable,
    Refuse,
    Rewrite,
    SelfChat,
    Sent,
    User,
    UserNotFound,
)
from chatcore_memory import MemoryStore
from tests.support.following import WatchedDoorbell
from tests.support.picky_store import PickyStore
from tests.support.policies import ScriptedPolicy
from tests.support.virtual_time import pending_timers

# A policy that is late is late by the clock, not by the machine.
pytestmark = pytest.mark.virtual_time

SECONDS = 1.0
"""How long an answer may take by default."""


class CountingStore(PickyStore):
    """Counts the calls that a policy brings about."""

    def __init__(self) -> None:
        super().__init__()
        self.appended = 0
        self.looked_up = 0

    async def append_message(self, new: NewMessage) -> Sent:
        self.appended += 1
        return await super().append_message(new)

    async def replay_of(self, new: NewMessage) -> Sent | None:
        self.looked_up += 1
        return await super().replay_of(new)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def policy() -> ScriptedPolicy:
    return ScriptedPolicy()


@pytest.fixture
def messenger(store: MemoryStore, doorbell: WatchedDoorbell, policy: ScriptedPolicy) -> Messenger:
    return Messenger(store, doorbell=doorbell, policy=policy)


async def send(messenger: Messenger, user: User, chat: Chat, text: str, key: str | None) -> None:
    if key is None:
        await messenger.send(user, chat, text)
    else:
        await messenger.send_once(user, chat, text, key)


async def texts(messenger: Messenger, chat: Chat) -> list[str]:
    page = await messenger.page(chat.users[0], chat)
    return [message.text for message in page.messages]


# What it is asked.


async def test_policy_learns_the_users_and_the_actor_of_an_opening(
    messenger: Messenger, policy: ScriptedPolicy, ann: User, bob: User, eve: User
) -> None:
    await messenger.open_chat(bob, ann)
    await messenger.ensure_chat(ann, eve, actor=Actor.HOST)
    await messenger.open_chat(eve, bob, actor=Actor.IMPORT)
    assert policy.openings == [
        (bob, ann, Actor.USER),
        (ann, eve, Actor.HOST),
        (eve, bob, Actor.IMPORT),
    ]


async def test_policy_learns_the_draft_of_a_send(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User, bob: User
) -> None:
    await messenger.send(ann, chat, "one")
    await messenger.send_once(bob, chat, "two", "key", actor=Actor.IMPORT)
    await messenger.send(bob, chat, "three", actor=Actor.HOST)
    assert policy.drafts == [
        Draft(ann, chat, "one", Actor.USER, None),
        Draft(bob, chat, "two", Actor.IMPORT, "key"),
        Draft(bob, chat, "three", Actor.HOST, None),
    ]
    assert [draft.peer for draft in policy.drafts] == [bob, ann, ann]
    assert await texts(messenger, chat) == ["one", "two", "three"]


async def test_policy_is_not_asked_about_what_the_rules_refuse(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User, bob: User, eve: User
) -> None:
    policy.openings.clear()
    for text, key in (("", None), (" ", "key"), ("\0", None)):
        with pytest.raises(InvalidText):
            await send(messenger, ann, chat, text, key)
    with pytest.raises(InvalidKey):
        await messenger.send_once(ann, chat, "hello", "not a key")
    with pytest.raises(ChatNotFound):
        await messenger.send(eve, chat, "hello")
    with pytest.raises(SelfChat):
        await messenger.open_chat(ann, ann)
    assert (policy.openings, policy.drafts) == ([], [])


async def test_policy_is_not_asked_about_a_chat_that_exists(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat
) -> None:
    policy.openings.clear()
    policy.opening = Refuse("strangers")
    for user in chat.users:
        peer = chat.peer_of(user)
        with pytest.raises(ChatExists):
            await messenger.open_chat(user, peer)
        assert await messenger.ensure_chat(user, peer) == (chat, False)
    assert policy.openings == []


# What its answers do.


async def test_refused_opening_opens_nothing(
    messenger: Messenger,
    policy: ScriptedPolicy,
    doorbell: WatchedDoorbell,
    ann: User,
    bob: User,
) -> None:
    policy.opening = Refuse("strangers")
    for call in (messenger.open_chat, messenger.ensure_chat):
        with pytest.raises(PolicyRefused) as refused:
            await call(ann, bob)
        assert refused.value.code == "strangers"
    assert await messenger.list_chats(ann) == []
    assert doorbell.rung == []
    policy.opening = Allow()
    assert (await messenger.ensure_chat(ann, bob)).created


async def test_refused_send_stores_nothing_and_takes_no_number(
    messenger: Messenger, policy: ScriptedPolicy, doorbell: WatchedDoorbell, chat: Chat, ann: User
) -> None:
    doorbell.rung.clear()
    policy.sending = Refuse("too_rude")
    for key in (None, "key"):
        with pytest.raises(PolicyRefused) as refused:
            await send(messenger, ann, chat, "hello", key)
        assert refused.value.code == "too_rude"
    assert doorbell.rung == []
    policy.sending = Allow()
    # The key of a refused send is free.
    sent = await messenger.send_once(ann, chat, "hello", "key")
    assert (sent.message.seq, sent.replayed) == (1, False)


async def test_rewritten_text_is_what_is_stored_and_followed(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User, bob: User
) -> None:
    policy.sending = Rewrite("h***o")
    cursor = (await messenger.sync(bob)).cursor
    message = await messenger.send(ann, chat, "hello")
    assert message.text == "h***o"
    assert await texts(messenger, chat) == ["h***o"]
    async for event in messenger.follow(bob, after=cursor):
        assert event[1:] == (chat, message)
        break


@pytest.mark.parametrize("text", ["", " ", "x" * 4097, "\0", "\ud800"], ids=ascii)
async def test_rewritten_text_keeps_the_rules_of_messages(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User, text: str
) -> None:
    policy.sending = Rewrite(text)
    with pytest.raises(InvalidText):
        await messenger.send(ann, chat, "hello")
    assert await texts(messenger, chat) == []


@pytest.mark.parametrize("code", ["a", "x" * 64, "2_many", "acme_no_order", "_"])
def test_valid_code_of_a_refusal_is_kept(code: str) -> None:
    assert Refuse(code).code == code


@pytest.mark.parametrize(
    "code",
    [
        *("", "x" * 65, "Strangers", "no-order", "no order", "é", "a\n", "٣"),
        *("error", "refused", "chat_not_found", "key_reused", "policy_refused"),
        *("policy_unavailable", "overloaded", "invalid_text", "wrong_credentials"),
    ],
    ids=ascii,
)
def test_invalid_or_taken_code_of_a_refusal_is_an_error(code: str) -> None:
    with pytest.raises(ValueError, match="code"):
        Refuse(code)


# A policy that fails or is late.


WRONG_ANSWERS: list[Any] = [
    *(None, True, False, "allow", Allow, ZeroDivisionError("a defect"), TimeoutError()),
    *(PolicyRefused("no"), ChatNotFound(), asyncio.CancelledError(), Rewrite(None)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("answer", WRONG_ANSWERS, ids=repr)
async def test_wrong_answer_is_never_a_yes(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User, eve: User, answer: Any
) -> None:
    policy.opening = policy.sending = answer
    with pytest.raises(PolicyUnavailable) as failed:
        await messenger.send(ann, chat, "hello")
    if isinstance(answer, BaseException):
        assert failed.value.__cause__ is answer
    with pytest.raises(PolicyUnavailable):
        await messenger.send_once(ann, chat, "hello", "key")
    with pytest.raises(PolicyUnavailable):
        await messenger.open_chat(ann, eve)
    assert await texts(messenger, chat) == []
    assert len(await messenger.list_chats(ann)) == 1


async def test_chat_cannot_be_rewritten(
    messenger: Messenger, policy: ScriptedPolicy, ann: User, bob: User
) -> None:
    policy.opening = Rewrite("hello")
    with pytest.raises(PolicyUnavailable):
        await messenger.open_chat(ann, bob)


async def test_policy_that_is_no_coroutine_is_never_a_yes(
    store: MemoryStore, ann: User, bob: User
) -> None:
    class Plain:
        def may_open(self, *_: object) -> Allow:
            return Allow()

    plain: Any = Plain()
    with pytest.raises(PolicyUnavailable):
        await Messenger(store, policy=plain).open_chat(ann, bob)


async def test_answer_just_in_time_counts(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User
) -> None:
    policy.seconds = SECONDS - 0.001
    assert (await messenger.send(ann, chat, "hello")).seq == 1
    assert pending_timers() == 0


async def test_late_policy_is_unavailable_and_cancelled(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User, eve: User
) -> None:
    policy.seconds = SECONDS + 0.001
    calls: list[Callable[[], Awaitable[object]]] = [
        partial(messenger.send, ann, chat, "hello"),
        partial(messenger.send_once, ann, chat, "hello", "key"),
        partial(messenger.open_chat, ann, eve),
    ]
    for number, call in enumerate(calls, 1):
        started = asyncio.get_running_loop().time()
        with pytest.raises(PolicyUnavailable, match="1 s"):
            await call()
        assert asyncio.get_running_loop().time() - started == SECONDS
        await asyncio.sleep(0)
        assert policy.cancelled == number
    assert await texts(messenger, chat) == []
    assert len(await messenger.list_chats(ann)) == 1


async def test_time_for_an_answer_can_be_set(
    store: MemoryStore, policy: ScriptedPolicy, ann: User, bob: User
) -> None:
    policy.seconds = 5
    patient = Messenger(store, policy=policy, policy_seconds=5.001)
    chat = await patient.open_chat(ann, bob)
    with pytest.raises(PolicyUnavailable):
        await Messenger(store, policy=policy, policy_seconds=4.999).send(ann, chat, "hello")
    for seconds in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="policy_seconds"):
            Messenger(store, policy=policy, policy_seconds=seconds)


async def test_policy_that_ignores_its_cancellation_delays_no_caller(
    store: MemoryStore, ann: User, bob: User
) -> None:
    class Stubborn(ScriptedPolicy):
        async def _give(self, answer: Any) -> Any:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await asyncio.sleep(3600)
            return Allow()

    messenger = Messenger(store, policy=Stubborn())
    with pytest.raises(PolicyUnavailable):
        await messenger.open_chat(ann, bob)
    assert asyncio.get_running_loop().time() == SECONDS
    # Its late answer counts for nothing.
    await asyncio.sleep(3600)
    assert await messenger.list_chats(ann) == []


async def test_failure_after_the_time_is_not_reported_as_forgotten(
    store: MemoryStore, ann: User, bob: User
) -> None:
    reports: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))

    class FailsLate(ScriptedPolicy):
        async def _give(self, answer: Any) -> Any:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                raise ZeroDivisionError from None

    with pytest.raises(PolicyUnavailable):
        await Messenger(store, policy=FailsLate()).open_chat(ann, bob)
    await asyncio.sleep(1)
    assert reports == []
    asyncio.get_running_loop().set_exception_handler(None)


async def test_failure_at_the_moment_of_a_cancellation_is_not_reported_as_forgotten(
    messenger: Messenger, policy: ScriptedPolicy, ann: User, chat: Chat
) -> None:
    unhandled: list[object] = []
    fails = asyncio.Event()

    async def fail(draft: Draft) -> Allow:
        await fails.wait()
        raise ConnectionError

    policy.may_send = fail  # type: ignore[method-assign]
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    for rounds in range(5):
        fails.clear()
        task = asyncio.create_task(messenger.send(ann, chat, "hello"))
        await asyncio.sleep(0.1)
        fails.set()
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, PolicyUnavailable)):
            await task
        await asyncio.sleep(0)
        del task
        gc.collect()
    assert unhandled == []
    asyncio.get_running_loop().set_exception_handler(None)


async def test_send_cancelled_while_the_policy_thinks_stores_nothing(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User, eve: User
) -> None:
    policy.seconds = 0.5
    for call in (
        messenger.send(ann, chat, "hello"),
        messenger.send_once(ann, chat, "hello", "key"),
        messenger.open_chat(ann, eve),
    ):
        before = policy.cancelled
        task = asyncio.create_task(call)
        await asyncio.sleep(0.25)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(SECONDS)
        assert policy.cancelled == before + 1
    assert await texts(messenger, chat) == []
    assert len(await messenger.list_chats(ann)) == 1
    # The key is free.
    assert not (await messenger.send_once(ann, chat, "other", "key")).replayed


async def test_sends_do_not_wait_for_each_others_answers(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User
) -> None:
    policy.seconds = 0.5
    started = asyncio.get_running_loop().time()
    await asyncio.gather(*(messenger.send(ann, chat, f"{n}") for n in range(100)))
    assert asyncio.get_running_loop().time() - started == 0.5
    assert len(await texts(messenger, chat)) == 50


# Policy and retries.


async def test_replay_is_answered_without_the_policy(
    messenger: Messenger, policy: ScriptedPolicy, doorbell: WatchedDoorbell, chat: Chat, ann: User
) -> None:
    policy.sending = Rewrite("h***o")
    first = await messenger.send_once(ann, chat, "hello", "key")
    assert (first.message.text, first.replayed) == ("h***o", False)
    policy.drafts.clear()
    doorbell.rung.clear()
    # The policy changes its mind, fails, and is late: the replay stays the same.
    for answer, seconds in (
        *((Allow(), 0.0), (Rewrite("other"), 0.0), (Refuse("too_rude"), 0.0)),
        *((ZeroDivisionError(), 0.0), (Allow(), 3600.0)),
    ):
        policy.sending, policy.seconds = answer, seconds
        again = await messenger.send_once(ann, chat, "hello", "key")
        assert again == first._replace(replayed=True)
    assert (policy.drafts, doorbell.rung) == ([], [])
    assert await texts(messenger, chat) == ["h***o"]


async def test_key_of_another_message_is_refused_without_the_policy(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User
) -> None:
    policy.sending = Rewrite("h***o")
    await messenger.send_once(ann, chat, "hello", "key")
    for text in ("hallo", "h***o"):
        with pytest.raises(KeyReused):
            await messenger.send_once(ann, chat, text, "key")
    assert len(policy.drafts) == 1


async def test_retry_without_a_policy_knows_what_one_rewrote(
    messenger: Messenger, policy: ScriptedPolicy, store: MemoryStore, chat: Chat, ann: User
) -> None:
    policy.sending = Rewrite("h***o")
    first = await messenger.send_once(ann, chat, "hello", "key")
    free = Messenger(store)
    assert await free.send_once(ann, chat, "hello", "key") == first._replace(replayed=True)
    with pytest.raises(KeyReused):
        await free.send_once(ann, chat, "h***o", "key")


async def test_retry_after_a_failed_policy_is_sent_once(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User
) -> None:
    policy.seconds = 3600
    with pytest.raises(PolicyUnavailable):
        await messenger.send_once(ann, chat, "hello", "key")
    policy.seconds = 0
    assert not (await messenger.send_once(ann, chat, "hello", "key")).replayed
    assert (await messenger.send_once(ann, chat, "hello", "key")).replayed
    assert await texts(messenger, chat) == ["hello"]


async def test_refused_duplicate_of_a_stored_send_is_a_replay(
    store: MemoryStore, chat: Chat, ann: User
) -> None:
    """Two sends with one key at once: the policy allows one, and refuses the other later."""

    class AllowsOnce(ScriptedPolicy):
        async def may_send(self, draft: Draft) -> Any:
            self.drafts.append(draft)
            if len(self.drafts) == 1:
                return Allow()
            await asyncio.sleep(0.5)
            return Refuse("too_many")

    messenger = Messenger(store, policy=AllowsOnce())
    sends = [messenger.send_once(ann, chat, "hello", "key") for _ in range(2)]
    first, second = await asyncio.gather(*sends)
    assert second == first._replace(replayed=True)
    assert await texts(messenger, chat) == ["hello"]
    # Without such a twin the refusal stands.
    with pytest.raises(PolicyRefused):
        await messenger.send_once(ann, chat, "hello", "other-key")


# Policy and blocks.


async def test_block_holds_whatever_the_policy_allows(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User, bob: User, eve: User
) -> None:
    first = await messenger.send_once(ann, chat, "hello", "key")
    for sender in (ann, bob):
        await messenger.block(bob, ann)
        for answer in (Allow(), Rewrite("another text")):
            policy.sending = answer
            for actor in Actor:
                with pytest.raises(ChatNotFound):
                    await messenger.send(sender, chat, "hello", actor=actor)
        await messenger.unblock(bob, ann)
    await messenger.block(eve, ann)
    for user, peer in ((ann, eve), (eve, ann)):
        with pytest.raises(UserNotFound):
            await messenger.open_chat(user, peer, actor=Actor.HOST)
    # A replay is no new message.
    await messenger.block(bob, ann)
    assert await messenger.send_once(ann, chat, "hello", "key") == first._replace(replayed=True)
    assert await texts(messenger, chat) == ["hello"]


async def test_refusal_of_the_policy_does_not_show_a_block(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User, bob: User, eve: User
) -> None:
    policy.opening, policy.sending = Refuse("strangers"), Refuse("too_rude")
    for _ in range(2):
        with pytest.raises(PolicyRefused, match="too_rude"):
            await messenger.send(ann, chat, "hello")
        with pytest.raises(PolicyRefused, match="strangers"):
            await messenger.open_chat(ann, eve)
        await messenger.block(bob, ann)
        await messenger.block(eve, ann)


async def test_block_made_while_the_policy_thinks_holds(
    messenger: Messenger, policy: ScriptedPolicy, chat: Chat, ann: User, bob: User
) -> None:
    policy.seconds = 0.5
    sending = asyncio.create_task(messenger.send(ann, chat, "hello"))
    await asyncio.sleep(0.25)
    await messenger.block(bob, ann)
    with pytest.raises(ChatNotFound):
        await sending


# Without a policy.


async def test_without_a_policy_no_key_is_looked_up_first(
    store: CountingStore, chat: Chat, ann: User
) -> None:
    free = Messenger(store)
    await free.send_once(ann, chat, "hello", "key")
    await free.send_once(ann, chat, "hello", "key")
    assert (store.appended, store.looked_up) == (2, 0)


async def test_send_without_a_key_looks_none_up(
    messenger: Messenger, store: CountingStore, chat: Chat, ann: User
) -> None:
    await messenger.send(ann, chat, "hello")
    assert (store.appended, store.looked_up) == (1, 0)


def test_refusal_survives_copies() -> None:
    refusal = PolicyRefused("shop_no_order")
    for made in (copy.copy(refusal), pickle.loads(pickle.dumps(refusal))):  # noqa: S301
        assert (made.code, str(made)) == (refusal.code, str(refusal))
