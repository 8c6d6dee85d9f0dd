"""The promises of an EventLog about void cursors: a reader learns that it has missed events."""

from chatcore.model import MAX_INT64
from chatcore.ports import MAX_PAGE
from chatcore.testing.expect import check, expect, expect_equal
from chatcore.testing.scene import (
    NOW_US,
    UNKNOWN_IDS,
    ChatStoreWithUsers,
    add_user,
    ann_and_bob,
    mark,
    read_log,
    send,
)


@check
async def a_void_cursor_gives_none(store: ChatStoreWithUsers) -> None:
    """events_after returns None for a cursor from another store, or one beyond the end."""
    chat, ann, _ = await ann_and_bob(store)
    await send(store, chat, ann, "hello")
    end = await store.end_of_log(ann.id)
    at_the_end = await store.events_after(end, limit=MAX_PAGE)
    expect_equal(at_the_end and list(at_the_end), [], "events_after the end of the log")
    for cursor in (
        *(end.at(n) for n in (end.n + 1, end.n + 2, 2**31, MAX_INT64)),
        *(
            end.at(n)._replace(log=log)
            for log in ("", "0", end.log + "0")
            for n in range(end.n + 1)
        ),
        *(end.at(1)._replace(user_id=unknown) for unknown in UNKNOWN_IDS),
    ):
        found = await store.events_after(cursor, limit=MAX_PAGE)
        expect_equal(
            found, None, f"events_after the void cursor {cursor!r}, where the end is {end.n},"
        )


@check
async def a_cursor_is_void_with_another_mark(store: ChatStoreWithUsers) -> None:
    """A store either marks no cursor or each one, but for number 0: events_after returns None for a
    cursor with another mark than that of its entry, and does not ask for a mark. Different entries
    have different marks, also those with one number in two logs."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    other = await store.open_chat(eve.id, ann.id, NOW_US)
    for n, (place, sender) in enumerate(((chat, ann), (other, ann), (chat, bob), (chat, bob))):
        await send(store, place, sender, "hello", sent_us=NOW_US + n)
    await mark(store, chat, bob, 1)
    logs = [await read_log(store, user) for user in (ann, bob, eve)]
    cursors = {entry.cursor for log in logs for entry in log}
    if all(cursor.mark is None for cursor in cursors):
        return
    expect_equal(
        len({cursor.mark for cursor in cursors if cursor.user_id == ann.id}),
        len(logs[0]),
        "events_after: marks of different entries",
    )
    bobs, eves = logs[1][1].cursor, logs[2][1].cursor
    expect(
        bobs.mark != eves.mark,
        f"events_after marks different entries differently, not {bobs!r} and {eves!r}",
    )
    for log in logs:
        end = log[-1].cursor
        expect_equal(await store.end_of_log(end.user_id), end, "end_of_log, with its mark")
        for count, entry in enumerate(log, 1):
            cursor = entry.cursor
            mark_ = -1 if cursor.mark is None else cursor.mark
            expect(0 <= mark_ < 2**32, f"events_after gives marks of 32 bits, not {cursor!r}")
            for valid in (cursor, cursor.at(cursor.n)):
                found = await store.events_after(valid, limit=MAX_PAGE)
                expect_equal(list(found or ()), log[count:], f"events_after {valid!r}")
            for wrong in (mark_ ^ 1, mark_ ^ 2**31):
                void = cursor.at(cursor.n, wrong)
                found = await store.events_after(void, limit=MAX_PAGE)
                expect_equal(
                    found, None, f"events_after {void!r}, where the entry has {cursor.mark},"
                )


CURSOR_CHECKS = (
    a_void_cursor_gives_none,
    a_cursor_is_void_with_another_mark,
)
