"""The promises of an EventLog about trimming: no reader misses that entries are deleted."""

import asyncio

from chatcore.events import Cursor, Entry
from chatcore.model import MAX_INT64, User
from chatcore.ports import MAX_PAGE
from chatcore.testing.events import numbers
from chatcore.testing.expect import check, expect, expect_equal
from chatcore.testing.scene import (
    NOW_US,
    ChatStoreWithUsers,
    add_user,
    ann_and_bob,
    log_start,
    read_log,
    send,
)

NOTHING_OLD = 0
EVERYTHING = 10**9
SECOND = 1_000_000


async def trim(store: ChatStoreWithUsers, *, keep: int, since_us: int, after_user: int = 0) -> None:
    """Call trim_logs until it returns None."""
    next_user: int | None = after_user
    while next_user is not None:
        done, next_user = (
            next_user,
            await store.trim_logs(keep=keep, since_us=since_us, after_user=next_user),
        )
        # Otherwise the loop would never end.
        expect(next_user is None or next_user > done, "trim_logs returns larger user ids")


async def expect_trimmed(
    store: ChatStoreWithUsers, user: User, entries: list[Entry], kept: int
) -> None:
    """Expect that the log keeps the newest `kept` of its entries."""
    start = await log_start(store, user)
    deleted = len(entries) - kept
    expect_equal((await store.end_of_log(user.id)).n, len(entries), "end_of_log after trim_logs")
    for n in range(len(entries) + 1):
        found = await store.events_after(start.at(n), limit=MAX_PAGE)
        wanted = entries[n:] if n >= deleted else None
        call = f"events_after {n}, after trim_logs of all up to {deleted}"
        expect_equal(found if found is None else list(found), wanted, call)


@check
async def all_but_the_newest_entries_are_trimmed(store: ChatStoreWithUsers) -> None:
    """trim_logs deletes all but the newest `keep` entries of each log, and never the newest one.
    events_after returns None for a cursor before a deleted entry, and the rest for others."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    await store.open_chat(eve.id, bob.id, NOW_US)
    for n in range(8):
        await send(store, chat, ann, f"{n}")
    logs = {user: await read_log(store, user) for user in (ann, bob, eve)}
    expect_equal(
        [len(log) for log in logs.values()], [9, 10, 1], "events_after: every step is logged"
    )
    for keep in (EVERYTHING, 10, 9, 6, 5, 2, 1, 0):
        await trim(store, keep=keep, since_us=NOTHING_OLD)
        for user, entries in logs.items():
            await expect_trimmed(store, user, entries, min(max(keep, 1), len(entries)))


@check
async def entries_of_old_times_are_trimmed(store: ChatStoreWithUsers) -> None:
    """trim_logs deletes the entries logged before `since_us`, regardless of their count, except the
    newest one."""
    chat, ann, bob = await ann_and_bob(store)
    for n in range(1, 5):
        await send(store, chat, ann, f"{n}", sent_us=NOW_US + n * SECOND)
    logs = {user: await read_log(store, user) for user in (ann, bob)}
    for since_us, kept in (
        (NOW_US, 5),
        (NOW_US + SECOND, 4),
        (NOW_US + SECOND + 1, 3),
        (NOW_US + 3 * SECOND, 2),
        (NOW_US + 9 * SECOND, 1),
    ):
        await trim(store, keep=EVERYTHING, since_us=since_us)
        for user, entries in logs.items():
            await expect_trimmed(store, user, entries, kept)


@check
async def a_trimmed_log_continues_its_numbers(store: ChatStoreWithUsers) -> None:
    """Later entries of a trimmed log get the next numbers, and follow every valid cursor. trim_logs
    deletes no message."""
    chat, ann, bob = await ann_and_bob(store)
    for n in range(3):
        await send(store, chat, ann, f"{n}")
    end = await store.end_of_log(bob.id)
    for n in range(4, 7):
        await trim(store, keep=0, since_us=NOW_US + 1)
        sent = await send(store, chat, ann, f"{n}")
        later = await read_log(store, bob, end)
        expect_equal(numbers(later), [end.n + 1], "events_after: the next number")
        expect_equal(sent.message.seq, n, "append_message after trim_logs")
        end = later[-1].cursor
    messages = await store.messages_after(chat.id, 0, limit=MAX_PAGE)
    expect_equal(
        [it.seq for it in messages], [*range(1, 7)], "messages_after: trim_logs deletes none"
    )


@check
async def trimming_continues_from_user_to_user(store: ChatStoreWithUsers) -> None:
    """A call of trim_logs begins with the smallest user id above `after_user` and returns the next
    `after_user`, None at the end; it leaves the logs of smaller ids."""
    users = [await add_user(store, f"user {n}") for n in range(24)]
    users.sort()
    for one, other in zip(users[::2], users[1::2], strict=True):
        chat = await store.open_chat(one.id, other.id, NOW_US)
        await send(store, chat, one, "hello")
    logs = {user: await read_log(store, user) for user in users}
    for first in (23, 9, 0):
        await trim(store, keep=1, since_us=NOTHING_OLD, after_user=users[first].id - 1)
        for place, user in enumerate(users):
            await expect_trimmed(store, user, logs[user], 1 if place >= first else 2)
    for after in (users[-1].id, MAX_INT64):
        left = await store.trim_logs(keep=1, since_us=NOTHING_OLD, after_user=after)
        expect_equal(left, None, "trim_logs after the largest id")


@check
async def a_trimmed_log_is_never_read_with_gaps(store: ChatStoreWithUsers) -> None:
    """events_after returns None or the next entries without a gap, for any trimming, any order of
    times and beside simultaneous sends."""
    chat, ann, bob = await ann_and_bob(store)
    for n, seconds in enumerate((5, 1, 4, 2, 3, 6, 0, 5)):
        await send(store, chat, ann, f"{n}", sent_us=NOW_US + seconds * SECOND)
    start = await log_start(store, bob)

    async def expect_no_gaps(cursor: Cursor) -> None:
        found = await store.events_after(cursor, limit=MAX_PAGE)
        ns = numbers(list(found or ()))
        wanted = [*range(cursor.n + 1, cursor.n + 1 + len(ns))]
        expect_equal(ns, wanted, f"events_after {cursor.n} beside trim_logs: no gaps")

    async def talk() -> None:
        for n in range(20):
            await send(store, chat, ann, f"{n}", sent_us=NOW_US + n % 7 * SECOND)

    talks = asyncio.gather(talk(), talk())
    for seconds in range(9):
        since_us = NOW_US + seconds * SECOND
        await asyncio.gather(
            trim(store, keep=30 - seconds, since_us=since_us),
            *(expect_no_gaps(start.at(n)) for n in range(0, 40, 3)),
        )
        for n in range((await store.end_of_log(bob.id)).n + 1):
            await expect_no_gaps(start.at(n))
    await talks
    end = await store.end_of_log(bob.id)
    expect_equal(end.n, 49, "end_of_log: every step is logged")
    newest = await store.events_after(end.at(end.n - 1), limit=MAX_PAGE)
    expect_equal(
        numbers(list(newest or ())), [end.n], "events_after: trim_logs keeps the newest entry"
    )


TRIM_CHECKS = (
    all_but_the_newest_entries_are_trimmed,
    entries_of_old_times_are_trimmed,
    a_trimmed_log_continues_its_numbers,
    trimming_continues_from_user_to_user,
    a_trimmed_log_is_never_read_with_gaps,
)
