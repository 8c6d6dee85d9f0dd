"""The promises of a ChatStore about read markers and chat states."""

import asyncio

from chatcore.errors import ChatNotFound
from chatcore.events import MarkerMoved
from chatcore.model import MAX_INT64, Chat, ChatState, Message, User
from chatcore.ports import MAX_PAGE
from chatcore.testing.expect import check, expect, expect_equal, refused, simultaneously
from chatcore.testing.scene import (
    NOW_US,
    UNKNOWN_IDS,
    ChatStoreWithUsers,
    add_user,
    ann_and_bob,
    mark,
    read_all,
    read_log,
    send,
)


async def state_of(store: ChatStoreWithUsers, user: User, chat: Chat) -> ChatState:
    """Return the state of the chat for the user, which chat_states must list, too."""
    state = await store.chat_state(user.id, chat.id)
    if state is None:
        raise AssertionError("chat_state must return the state of the user's chat")
    listed = await store.chat_states(user.id, before=None, limit=MAX_PAGE)
    expect(state in listed, f"chat_states lists the state of chat_state: {state!r:.300}")
    return state


def unread_by_definition(state: ChatState, user: User, messages: list[Message]) -> int:
    """Count the peer's messages after the user's marker, up to the state's last message."""
    last = state.last_message.seq if state.last_message else 0
    return sum(state.read_seq < it.seq <= last and it.sender_id != user.id for it in messages)


@check
async def a_marker_moves_forward_only(store: ChatStoreWithUsers) -> None:
    """move_read_marker moves the marker to a larger number, but never back, and returns the marker.
    Both users see it."""
    chat, ann, bob = await ann_and_bob(store)
    for n in range(5):
        await send(store, chat, ann, f"{n}")
    for seq, wanted in ((0, 0), (2, 2), (1, 2), (2, 2), (0, 2), (4, 4), (3, 4), (5, 5), (1, 5)):
        expect_equal(await mark(store, chat, bob, seq), wanted, f"move_read_marker to {seq}")
        mine, its = await state_of(store, bob, chat), await state_of(store, ann, chat)
        expect_equal((mine.read_seq, mine.peer_read_seq), (wanted, 0), "chat_state of the reader")
        expect_equal((its.read_seq, its.peer_read_seq), (0, wanted), "chat_state of the peer")


@check
async def a_marker_ends_at_the_last_message(store: ChatStoreWithUsers) -> None:
    """move_read_marker beyond the chat's last message moves the marker to the last message at that
    time, not to later ones."""
    chat, ann, bob = await ann_and_bob(store)
    for last in range(3):
        for seq in (MAX_INT64, last + 1, 2**31):
            expect_equal(await mark(store, chat, bob, seq), last, f"move_read_marker to {seq}")
        expect_equal((await state_of(store, bob, chat)).read_seq, last, "chat_state: read_seq")
        await send(store, chat, ann, "hello")
        state = await state_of(store, bob, chat)
        expect_equal((state.read_seq, state.unread), (last, 1), "chat_state after a later message")


@check
async def markers_are_independent(store: ChatStoreWithUsers) -> None:
    """Each user has a marker in each chat, which only move_read_marker moves, not even the user's
    own message."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    other = await store.open_chat(eve.id, ann.id, NOW_US)
    for place in (chat, other):
        for sender in (*place.users, *place.users):
            await send(store, place, sender, "hello")
    moved = {(chat, ann): 1, (chat, bob): 3, (other, ann): 4, (other, eve): 2}
    for (place, user), seq in moved.items():
        await mark(store, place, user, seq)
    for (place, user), seq in moved.items():
        state = await state_of(store, user, place)
        wanted = seq, moved[place, place.peer_of(user)]
        expect_equal(
            (state.read_seq, state.peer_read_seq), wanted, "chat_state: markers are independent"
        )


@check
async def strangers_move_no_marker(store: ChatStoreWithUsers) -> None:
    """move_read_marker raises ChatNotFound, and chat_state returns None, if there is no such
    chat or the user is not in it."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    await send(store, chat, ann, "hello")
    before = await state_of(store, ann, chat), await state_of(store, bob, chat)
    unknown_users = [User(unknown, "unknown", "unknown") for unknown in UNKNOWN_IDS]
    nowhere = [Chat(unknown, chat.users) for unknown in UNKNOWN_IDS]
    cases = [(chat, stranger) for stranger in (eve, *unknown_users)]
    for place, user in cases + [(place, ann) for place in nowhere]:
        for seq in (0, 1):
            with refused(ChatNotFound, f"move_read_marker of {user.id} in {place.id}"):
                await mark(store, place, user, seq)
        found = await store.chat_state(user.id, place.id)
        expect_equal(found, None, f"chat_state of {user.id} in {place.id}")
    after = await state_of(store, ann, chat), await state_of(store, bob, chat)
    expect_equal(after, before, "chat_state: a refused move_read_marker changes nothing")


@check
async def unread_is_what_the_peer_sent_after_the_marker(store: ChatStoreWithUsers) -> None:
    """The unread count is that of the peer's messages after the user's marker, in chat_state and
    chat_states, after any history; the user's own messages never count."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    other = await store.open_chat(eve.id, ann.id, NOW_US)
    await send(store, other, eve, "hello")
    messages: list[Message] = []
    # Runs of messages by each sender, with markers before, within and after them.
    for turn in range(24):
        sender, reader = (ann, bob) if turn % 5 < 2 else (bob, ann)
        sent = [await send(store, chat, sender, f"{turn}.{n}") for n in range(turn % 4)]
        messages += [it.message for it in sent]
        await mark(store, chat, reader, len(messages) - turn % 3)
        if turn % 7 == 6:
            await mark(store, chat, sender, len(messages) // 2)
        for user in (ann, bob):
            state = await state_of(store, user, chat)
            wanted = unread_by_definition(state, user, messages)
            expect_equal(state.unread, wanted, f"chat_state: unread after {state.read_seq}")
    expect_equal(
        (await state_of(store, ann, other)).unread, 1, "chat_state: unread of another chat"
    )


@check
async def states_are_the_chats_of_the_user(store: ChatStoreWithUsers) -> None:
    """chat_states returns the same chats as chats_of, in the same order, for the same `before` and
    `limit`."""
    hub = await add_user(store, "hub")
    chats = []
    for n in range(7):
        peer = await add_user(store, f"peer {n}")
        chats.append(await store.open_chat(hub.id, peer.id, NOW_US))
        if n % 3:
            await store.open_chat(peer.id, chats[0].peer_of(hub).id, NOW_US)
    for n in (3, 0, 3, 5):
        await send(store, chats[n], hub, "hello")
    everything = await store.chats_of(hub.id, before=None, limit=MAX_PAGE)
    befores = (None, 1, MAX_INT64, *(summary.activity for summary in everything))
    for user_id in (hub.id, chats[0].peer_of(hub).id, chats[1].peer_of(hub).id, *UNKNOWN_IDS):
        for before in befores:
            for limit in (1, 2, 6, 7, MAX_PAGE):
                summaries = await store.chats_of(user_id, before=before, limit=limit)
                states = await store.chat_states(user_id, before=before, limit=limit)
                found = [(it.chat, it.activity) for it in states]
                wanted = [(it.chat, it.activity) for it in summaries]
                expect_equal(found, wanted, f"chat_states: {limit} before {before}")


@check
async def a_state_has_the_last_message(store: ChatStoreWithUsers) -> None:
    """A state has the chat's newest message for both users; without messages it has None, and the
    markers and the unread count are 0."""
    chat, ann, bob = await ann_and_bob(store)
    for user in (ann, bob):
        state = await state_of(store, user, chat)
        wanted = ChatState(chat, state.activity, None, 0, 0, 0)
        expect_equal(state, wanted, "chat_state of a chat without messages")
    for n, sender in enumerate((ann, bob, bob, ann)):
        sent = await send(store, chat, sender, f"text {n}", sent_us=NOW_US + n)
        for user in (ann, bob):
            found = (await state_of(store, user, chat)).last_message
            expect_equal(found, sent.message, "chat_state: last_message")


@check
async def simultaneous_marks_end_at_the_largest(store: ChatStoreWithUsers) -> None:
    """Of simultaneous moves of one marker, each returns at least its own number, and the largest
    wins; the logs have every move forward."""
    chat, ann, bob = await ann_and_bob(store)
    await simultaneously(send(store, chat, ann, f"{n}") for n in range(30))
    wanted = [n * 7 % 30 for n in range(30)]
    markers = await simultaneously(mark(store, chat, bob, seq) for seq in wanted)
    for seq, marker in zip(wanted, markers, strict=True):
        expect(
            isinstance(marker, int) and seq <= marker <= 29,
            f"move_read_marker to {seq} returned {marker!r}",
        )
    expect_equal(
        (await state_of(store, bob, chat)).read_seq, 29, "chat_state: the largest number wins"
    )
    for user in (ann, bob):
        log = await read_log(store, user)
        marks = [entry.seq for entry in log if isinstance(entry, MarkerMoved)]
        expect_equal(marks, sorted({*marks}), "events_after: markers only move forward")
        expect(set(marks) <= set(wanted), "events_after: every marker is a wanted number")
        expect_equal(marks[-1:], [29], "events_after: the newest marker")


@check
async def a_state_is_of_one_moment(store: ChatStoreWithUsers) -> None:
    """Beside simultaneous sends and reads, each state is consistent: the unread count is that of
    the peer's messages from the marker to the last message, and no marker lies beyond it."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    await store.open_chat(eve.id, ann.id, NOW_US)

    async def talk(sender: User) -> None:
        for n in range(15):
            sent = await send(store, chat, sender, f"{n}")
            if n % 3 == 0:
                await mark(store, chat, sender, sent.message.seq)

    talks = [asyncio.create_task(talk(sender)) for sender in (ann, bob, ann, bob)]
    samples: list[tuple[User, ChatState]] = []
    while not all(task.done() for task in talks):
        for user in (ann, bob):
            state = await store.chat_state(user.id, chat.id)
            listed = await store.chat_states(user.id, before=None, limit=MAX_PAGE)
            samples += [(user, it) for it in (state, *listed) if it and it.chat == chat]
        await asyncio.sleep(0)
    await asyncio.gather(*talks)
    messages = await read_all(store, chat)
    samples += [(user, await state_of(store, user, chat)) for user in (ann, bob)]
    for user, state in samples:
        last = state.last_message.seq if state.last_message else 0
        if state.last_message:
            expect_equal(
                state.last_message, messages[last - 1], "chat_state: last_message is stored"
            )
        expect(
            max(state.read_seq, state.peer_read_seq) <= last, "chat_state: no marker beyond the end"
        )
        wanted = unread_by_definition(state, user, messages)
        expect_equal(state.unread, wanted, "chat_state is of one moment: unread")


STATE_CHECKS = (
    a_marker_moves_forward_only,
    a_marker_ends_at_the_last_message,
    markers_are_independent,
    strangers_move_no_marker,
    unread_is_what_the_peer_sent_after_the_marker,
    states_are_the_chats_of_the_user,
    a_state_has_the_last_message,
    simultaneous_marks_end_at_the_largest,
    a_state_is_of_one_moment,
)
