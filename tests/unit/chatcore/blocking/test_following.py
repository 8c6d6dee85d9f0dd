"""Following events from synchronous code."""

import threading

import pytest

from chatcore import Chat, Event, MessageSent, StoreUnavailable, User
from chatcore.blocking import Bridge, Following, Messenger, thread
from chatcore.blocking.call import Call
from tests.support.following import WatchedDoorbell, WatchedStore
from tests.support.threads import SECONDS, in_thread, interrupted_when, wait_until


def texts(events: list[Event]) -> list[str]:
    return [event.message.text for event in events if isinstance(event, MessageSent)]


def send(messenger: Messenger, chat: Chat, *texts: str) -> None:
    for text in texts:
        messenger.send(chat.users[0], chat, text)


def test_missed_events_come_before_live_ones(
    messenger: Messenger, bob: User, chat: Chat, doorbell: WatchedDoorbell
) -> None:
    start = messenger.sync(bob).cursor
    send(messenger, chat, "one", "two")
    seen: list[Event] = []

    def follow() -> None:
        for event in messenger.follow(bob, after=start):
            seen.append(event)
            if len(seen) == 3:
                break

    following = in_thread(follow)
    # The poll is ten minutes away, so the ring delivers the third.
    wait_until(lambda: doorbell.listening == 1)
    assert texts(seen) == ["one", "two"]
    send(messenger, chat, "three")
    following.result(SECONDS)
    assert texts(seen) == ["one", "two", "three"]
    resumed = messenger.follow(bob, after=str(seen[0].cursor))
    assert [next(resumed), next(resumed)] == seen[1:]


def test_an_iteration_left_early_listens_no_longer(
    messenger: Messenger, bob: User, chat: Chat, doorbell: WatchedDoorbell
) -> None:
    start = messenger.sync(bob).cursor
    send(messenger, chat, "one", "two")
    following = messenger.follow(bob, after=start)
    for event in following:
        assert texts([event]) == ["one"]
        break
    assert doorbell.listening == 0
    # The same iteration continues where it was left.
    assert texts([next(following)]) == ["two"]


def test_a_batch_waits_for_a_limited_time(
    messenger: Messenger, bob: User, chat: Chat, doorbell: WatchedDoorbell
) -> None:
    following = messenger.follow(bob, after=messenger.sync(bob).cursor)
    assert list(following.batch(0.01)) == []
    send(messenger, chat, "one", "two")
    assert texts(list(following.batch(SECONDS))) == ["one", "two"]
    assert following.start().n == 3
    assert doorbell.listening == 0


def test_stop_ends_the_iteration_of_another_thread(
    messenger: Messenger, bob: User, chat: Chat, doorbell: WatchedDoorbell
) -> None:
    following = messenger.follow(bob)
    listening = in_thread(lambda: list(following))
    wait_until(lambda: doorbell.listening == 1)
    send(messenger, chat, "one")
    wait_until(lambda: doorbell.listening == 1)
    following.stop()
    assert set(texts(listening.result(SECONDS))) <= {"one"}
    wait_until(lambda: doorbell.listening == 0)
    assert list(following) == []


@pytest.mark.parametrize("moment", ["prepare", "run"])
def test_stop_just_before_the_wait_ends_the_iteration(
    messenger: Messenger, bob: User, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = messenger.follow(bob)
    bridge = following._bridge
    original = getattr(bridge, moment)

    def stop_first(*arguments: object, **options: object) -> object:
        following.stop()
        return original(*arguments, **options)

    monkeypatch.setattr(bridge, moment, stop_first)
    assert in_thread(lambda: list(following)).result(SECONDS) == []


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits longer for calls in progress than the test does."""
    monkeypatch.setattr(thread, "FINISH_SECONDS", 10 * SECONDS)


@pytest.mark.usefixtures("patient")
def test_closing_the_bridge_ends_the_iteration(
    bridge: Bridge, messenger: Messenger, bob: User, doorbell: WatchedDoorbell
) -> None:
    following = messenger.follow(bob)
    waiting = in_thread(lambda: list(following))
    wait_until(lambda: doorbell.listening == 1)
    in_thread(bridge.close).result(SECONDS)
    assert waiting.result(SECONDS) == []
    assert list(following) == []
    assert doorbell.listening == 0


@pytest.mark.usefixtures("patient")
def test_closing_the_bridge_fails_a_waiting_batch(
    bridge: Bridge, messenger: Messenger, bob: User, doorbell: WatchedDoorbell
) -> None:
    waiting = in_thread(messenger.follow(bob).batch)
    wait_until(lambda: doorbell.listening == 1)
    in_thread(bridge.close).result(SECONDS)
    with pytest.raises(RuntimeError, match="this bridge is closed"):
        waiting.result(SECONDS)


def test_an_interrupt_stops_listening_and_loses_no_event(
    messenger: Messenger, bob: User, chat: Chat, doorbell: WatchedDoorbell
) -> None:
    following = messenger.follow(bob, after=messenger.sync(bob).cursor)
    with interrupted_when(lambda: doorbell.listening == 1), pytest.raises(KeyboardInterrupt):
        next(following)
    wait_until(lambda: doorbell.listening == 0)
    send(messenger, chat, "one")
    assert texts([next(following)]) == ["one"]


def test_an_event_that_came_with_the_interrupt_is_kept(
    messenger: Messenger, bob: User, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = messenger.follow(bob, after=messenger.sync(bob).cursor)
    send(messenger, chat, "one", "two")
    wait = Call.wait

    def interrupted(step: Call[Event]) -> None:
        wait(step)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(Call, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(following)
    assert texts([next(following), next(following)]) == ["one", "two"]


def test_a_failure_is_raised_and_the_next_call_continues(
    messenger: Messenger, store: WatchedStore, bob: User, chat: Chat
) -> None:
    following = messenger.follow(bob, after=messenger.sync(bob).cursor)
    send(messenger, chat, "one")
    store.failures = 1
    with pytest.raises(StoreUnavailable):
        next(following)
    assert texts([next(following)]) == ["one"]


def test_threads_that_share_an_iteration_get_each_event_once(
    messenger: Messenger, bob: User, chat: Chat
) -> None:
    following = messenger.follow(bob, after=messenger.sync(bob).cursor)
    send(messenger, chat, *map(str, range(200)))
    together = threading.Barrier(4)

    def take(of: Following) -> list[Event]:
        together.wait(SECONDS)
        return [next(of) for _ in range(50)]

    taking = [in_thread(lambda: take(following)) for _ in range(4)]
    parts = [texts(future.result(SECONDS)) for future in taking]
    assert sorted(int(text) for part in parts for text in part) == [*range(200)]
    assert all(part == sorted(part, key=int) for part in parts)


def test_an_interrupt_before_the_wait_stops_listening(
    messenger: Messenger,
    bob: User,
    chat: Chat,
    doorbell: WatchedDoorbell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    following = messenger.follow(bob, after=messenger.sync(bob).cursor)

    def interrupted(step: Call[Event]) -> None:
        wait_until(lambda: doorbell.listening == 1)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(Call, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(following)
    wait_until(lambda: doorbell.listening == 0)
    send(messenger, chat, "one")
    assert texts([next(following)]) == ["one"]
