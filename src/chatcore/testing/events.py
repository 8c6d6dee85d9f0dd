"""The promises of an EventLog: a reader that resumes at its cursor misses nothing."""

import asyncio
import re
from typing import assert_never

from chatcore.errors import ChatExists, ChatNotFound, KeyReused, SelfChat, UserNotFound
from chatcore.events import ChatOpened, Cursor, Entry, MarkerMoved, MessageSent
from chatcore.model import MAX_INT64, Chat, Message, User
from chatcore.ports import MAX_PAGE
from chatcore.testing.expect import (
    MOMENTS,
    check,
    expect,
    expect_equal,
    patience,
    refused,
    simultaneously,
    with_cancellations,
)
from chatcore.testing.scene import (
    NOW_US,
    UNKNOWN_IDS,
    ChatStoreWithUsers,
    add_user,
    ann_and_bob,
    log_start,
    mark,
    read_all,
    read_log,
    send,
    unmarked,
)


def numbers(entries: list[Entry]) -> list[int]:
    return [entry.cursor.n for entry in entries]


def messages_in(entries: list[Entry], chat: Chat) -> list[Message]:
    return [it.message for it in entries if isinstance(it, MessageSent) and it.chat == chat]


async def hub_of_three(store: ChatStoreWithUsers) -> tuple[User, list[User], list[Chat]]:
    """Return a user, three peers, and the user's chats with each of them."""
    hub = await add_user(store, "hub")
    peers = [await add_user(store, name) for name in ("ann", "bob", "eve")]
    return hub, peers, [await store.open_chat(hub.id, peer.id, NOW_US) for peer in peers]


@check
async def an_empty_log_ends_at_zero(store: ChatStoreWithUsers) -> None:
    """end_of_log of an empty log has the number 0 and the name of the store, 1 to 32 ASCII
    letters and digits. The log of an unknown user is empty, too."""
    ann = await add_user(store, "ann")
    first = await store.end_of_log(ann.id)
    expect(
        re.fullmatch("[0-9A-Za-z]{1,32}", first.log),
        "end_of_log names the log by letters and digits",
    )
    for user_id in (ann.id, *UNKNOWN_IDS):
        end = await store.end_of_log(user_id)
        expect_equal(end, Cursor(first.log, user_id, 0), f"end_of_log({user_id})")
        found = await store.events_after(end, limit=MAX_PAGE)
        expect_equal(
            found and list(found), [], f"events_after the end of the empty log of {user_id}"
        )


@check
async def both_logs_record_every_step(store: ChatStoreWithUsers) -> None:
    """Every open_chat, append_message and move of a read marker adds one entry to the logs of both
    users, and to no other: the change, and the cursor after it. The entry is there when the call
    returns."""
    ann, bob, eve = [await add_user(store, name) for name in ("ann", "bob", "eve")]
    logs: dict[User, list[Entry]] = {ann: [], bob: [], eve: []}
    name = (await store.end_of_log(ann.id)).log

    async def expect_entry(kind: type[Entry], chat: Chat, *what: object) -> None:
        for user in chat.users:
            cursor = Cursor(name, user.id, len(logs[user]) + 1)
            logs[user].append(kind(cursor, chat, *what))  # type: ignore[arg-type]
        for user, wanted in logs.items():
            end = await store.end_of_log(user.id)
            found = await read_log(store, user)
            expect_equal(
                list(map(unmarked, found)), wanted, f"events_after: the log of {user.name}"
            )
            last = found[-1].cursor if found else end.at(0)
            expect_equal(end, last, f"end_of_log of {user.name}")
            if found:
                expect_equal(
                    await read_log(store, user, end.at(end.n - 1)),
                    found[-1:],
                    f"events_after: the newest entry of {user.name}",
                )

    chat = await store.open_chat(bob.id, ann.id, NOW_US)
    await expect_entry(ChatOpened, chat)
    other = await store.open_chat(eve.id, ann.id, NOW_US)
    await expect_entry(ChatOpened, other)
    for place, sender, text in ((chat, ann, "one"), (other, ann, "two"), (chat, bob, "three")):
        sent = await send(store, place, sender, text, "key")
        await expect_entry(MessageSent, place, sent.message)
    for place, reader, seq, marker in (
        (chat, ann, 1, 1),
        (chat, bob, 2, 2),
        (chat, ann, 2, 2),
        (other, eve, MAX_INT64, 1),
    ):
        await mark(store, place, reader, seq)
        await expect_entry(MarkerMoved, place, reader, marker)


@check
async def refusals_and_replays_are_not_logged(store: ChatStoreWithUsers) -> None:
    """A refusal, a replay and a read marker that does not move add no entry."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    await send(store, chat, ann, "one", "key")
    await send(store, chat, bob, "two")
    await mark(store, chat, ann, 2)
    before = {user: await read_log(store, user) for user in (ann, bob, eve)}

    for seq in (0, 1, 2, 3, MAX_INT64):
        expect_equal(await mark(store, chat, ann, seq), 2, f"move_read_marker to {seq}")
    expect_equal(await mark(store, chat, bob, 0), 0, "move_read_marker to 0")
    expect(
        (await send(store, chat, ann, "one", "key")).replayed,
        "append_message with a known key returns the replay",
    )
    with refused(KeyReused, "append_message with a known key and another text"):
        await send(store, chat, ann, "other", "key")
    with refused(ChatNotFound, "append_message by a user outside the chat"):
        await send(store, chat, eve, "hello")
    with refused(ChatNotFound, "move_read_marker of a user outside the chat"):
        await mark(store, chat, eve, 1)
    with refused(ChatNotFound, "append_message to an unknown chat"):
        await send(store, Chat(MAX_INT64, chat.users), ann, "hello")
    with refused(ChatExists, "a second open_chat of a pair"):
        await store.open_chat(bob.id, ann.id, NOW_US)
    with refused(SelfChat, "open_chat with oneself"):
        await store.open_chat(eve.id, eve.id, NOW_US)
    with refused(UserNotFound, "open_chat with an unknown user"):
        await store.open_chat(eve.id, MAX_INT64, NOW_US)

    for user, wanted in before.items():
        expect_equal(
            await read_log(store, user),
            wanted,
            "events_after: a call that changes nothing adds no entry",
        )
        expect_equal(
            (await store.end_of_log(user.id)).n,
            len(wanted),
            "a call that changes nothing moves no end_of_log",
        )


@check
async def pages_of_a_log_are_the_next_entries(store: ChatStoreWithUsers) -> None:
    """events_after returns the first `limit` entries after the cursor, ascending."""
    chat, ann, bob = await ann_and_bob(store)
    for n in range(3):
        await send(store, chat, ann, f"{n}")
        await mark(store, chat, bob, n + 1)
    entries = await read_log(store, bob)
    start = await log_start(store, bob)
    expect_equal(numbers(entries), [*range(1, 8)], "events_after: numbers 1, 2, 3, … without gaps")
    for n in range(8):
        for limit in (1, 2, 3, 6, 7, 8, MAX_PAGE):
            page = await store.events_after(start.at(n), limit=limit)
            wanted = entries[n : n + limit]
            expect_equal(
                page and list(page), wanted or [], f"events_after: {limit} entries after {n}"
            )


@check
async def a_page_holds_up_to_500_entries(store: ChatStoreWithUsers) -> None:
    """events_after serves every `limit` up to MAX_PAGE, and never more than the limit."""
    chat, ann, bob = await ann_and_bob(store)
    await simultaneously(send(store, chat, (ann, bob)[n % 2], f"{n}") for n in range(MAX_PAGE + 2))
    start = await log_start(store, ann)
    page = list(await store.events_after(start, limit=MAX_PAGE) or ())
    expect_equal(numbers(page), [*range(1, MAX_PAGE + 1)], "events_after: a full page")
    rest = list(await store.events_after(page[-1].cursor, limit=MAX_PAGE) or ())
    expect_equal(numbers(rest), [*range(MAX_PAGE + 1, MAX_PAGE + 4)], "events_after: the rest")


@check
async def simultaneous_steps_are_each_logged_once(store: ChatStoreWithUsers) -> None:
    """After simultaneous steps of several users, every log is complete and numbered without
    gaps; the messages and the markers of a chat are in ascending order."""
    hub, peers, chats = await hub_of_three(store)
    more = [await add_user(store, f"peer {n}") for n in range(8)]
    await simultaneously(
        send(store, chat, chat.users[n % 2], f"{chat.id}.{n}") for n in range(20) for chat in chats
    )
    await simultaneously(
        call
        for n in range(1, 9)
        for call in (
            *(send(store, chat, hub, f"{chat.id} {n}") for chat in chats),
            *(_marked(store, chat, hub, 2 * n) for chat in chats),
            _opened(store, more[n - 1], hub),
        )
    )
    hub_log = await read_log(store, hub)
    expect_equal(numbers(hub_log), [*range(1, len(hub_log) + 1)], "events_after: no gaps")
    for peer, chat in zip(peers, chats, strict=True):
        log = await read_log(store, peer)
        expect_equal(numbers(log), [*range(1, len(log) + 1)], "events_after: no gaps")
        stored = await read_all(store, chat)
        for its_log in (hub_log, log):
            expect_equal(
                messages_in(its_log, chat),
                stored,
                "events_after: every message of the chat, in order",
            )
            marks = [it.seq for it in its_log if isinstance(it, MarkerMoved) and it.chat == chat]
            expect_equal(marks, sorted({*marks}), "events_after: markers only move forward")
            expect_equal(marks[-1], 16, "events_after: the newest marker")
    opened = [it.chat.peer_of(hub) for it in hub_log if isinstance(it, ChatOpened)]
    expect_equal(sorted(opened), sorted(peers + more), "events_after: every opening once")


async def _marked(store: ChatStoreWithUsers, chat: Chat, user: User, seq: int) -> None:
    await mark(store, chat, user, seq)


async def _opened(store: ChatStoreWithUsers, user: User, peer: User) -> None:
    await store.open_chat(user.id, peer.id, NOW_US)


@check
async def later_steps_have_larger_numbers(store: ChatStoreWithUsers) -> None:
    """If one step begins after another has returned, its entry has the larger number in every log
    with both, also beside other users' steps; and when a step returns, both logs have its entry."""
    hub, peers, chats = await hub_of_three(store)

    async def act(first: int) -> list[Message]:
        sent = []
        for n in range(9):
            turn = (first + n) % 3
            sender = (hub, peers[turn])[n % 2]
            message = (await send(store, chats[turn], sender, f"{n}")).message
            for user in (hub, peers[turn]):
                found = messages_in(await read_log(store, user), chats[turn])
                expect(message in found, "both logs have the entry when append_message returns")
            sent.append(message)
        return sent

    orders = await asyncio.gather(*(act(first) for first in range(6)))
    for user in (hub, *peers):
        entries = await read_log(store, user)
        places = {it.message: it.cursor.n for it in entries if isinstance(it, MessageSent)}
        for order in orders:
            mine = [places[message] for message in order if message in places]
            expect_equal(mine, sorted(mine), "events_after: a later step has the larger number")


@check
async def a_reader_of_a_log_misses_nothing(store: ChatStoreWithUsers) -> None:
    """A reader that resumes after the last entry gets every entry once and in order, beside other
    users' steps: no number appears, in events_after or end_of_log, before all smaller ones, and the
    change that an entry records is readable."""
    hub, peers, chats = await hub_of_three(store)

    async def talk(sender: User, chat: Chat) -> None:
        for n in range(1, 11):
            await send(store, chat, sender, f"{n}")
            await mark(store, chat, sender, n)

    talks = [
        asyncio.create_task(talk(sender, chat))
        for peer, chat in zip(peers, chats, strict=True)
        for sender in (hub, peer)
    ]
    seen: list[Entry] = []
    cursor = await log_start(store, hub)
    finished = False
    while not finished:
        finished = all(task.done() for task in talks)
        end = await store.end_of_log(hub.id)
        page = await store.events_after(cursor, limit=MAX_PAGE)
        seen += page or ()
        cursor = seen[-1].cursor
        expect(end.n <= cursor.n, "end_of_log gives no number that events_after does not")
        for entry in page or ():
            expect(
                await _shows(store, entry, hub),
                f"the change in an entry of events_after is readable: {entry!r}",
            )
        await asyncio.sleep(0)
    await asyncio.gather(*talks)
    expect_equal(
        numbers(seen),
        [*range(1, len(seen) + 1)],
        "events_after, page by page: every number in order",
    )
    expect_equal(seen, await read_log(store, hub), "events_after, page by page: every entry")
    expect_equal(
        sum(isinstance(it, MessageSent) for it in seen),
        60,
        "events_after, page by page: count of messages",
    )


async def _shows(store: ChatStoreWithUsers, entry: Entry, user: User) -> bool:
    """Whether the store shows the change that the entry records."""
    match entry:
        case MessageSent():
            seq = entry.message.seq
            page = await store.messages_after(entry.chat.id, seq - 1, limit=1)
            return list(page) == [entry.message]
        case ChatOpened():
            return await store.chat_by_id(entry.chat.id) == entry.chat
        case MarkerMoved():
            state = await store.chat_state(user.id, entry.chat.id)
            own = entry.reader == user
            seen = state and (state.read_seq if own else state.peer_read_seq)
            return seen is not None and seen >= entry.seq
    assert_never(entry)


@check
async def cancelled_steps_are_logged_whole(store: ChatStoreWithUsers) -> None:
    """A cancelled step is logged, for both users, if and only if it happened."""
    chat, ann, bob = await ann_and_bob(store)
    marked = 0
    async with patience("append_message or move_read_marker after a cancelled one"):
        for turn, moment in enumerate(MOMENTS):
            calls = [_sent(store, chat, ann, f"{turn}.{n}") for n in range(8)]
            calls += [_marked(store, chat, bob, marked + n) for n in range(1, 9)]
            await with_cancellations(calls, moment)
            await send(store, chat, ann, f"{turn}")
            marked = await mark(store, chat, bob, marked + 1)
        stored = await read_all(store, chat)
    state = await store.chat_state(bob.id, chat.id)
    logs = [await read_log(store, user) for user in (ann, bob)]
    for log in logs:
        expect_equal(numbers(log), [*range(1, len(log) + 1)], "events_after: no gaps")
        expect_equal(messages_in(log, chat), stored, "events_after: every stored message once")
    first, second = ([it.seq for it in log if isinstance(it, MarkerMoved)] for log in logs)
    expect_equal(first, sorted({*first}), "events_after: markers only move forward")
    expect_equal(first, second, "events_after: both users have the same moves")
    expect_equal(
        first[-1:],
        [state and state.read_seq],
        "events_after: the newest marker is that of chat_state",
    )


async def _sent(store: ChatStoreWithUsers, chat: Chat, sender: User, text: str) -> None:
    await send(store, chat, sender, text)


LOG_CHECKS = (
    an_empty_log_ends_at_zero,
    both_logs_record_every_step,
    refusals_and_replays_are_not_logged,
    pages_of_a_log_are_the_next_entries,
    a_page_holds_up_to_500_entries,
    simultaneous_steps_are_each_logged_once,
    later_steps_have_larger_numbers,
    a_reader_of_a_log_misses_nothing,
    cancelled_steps_are_logged_whole,
)
