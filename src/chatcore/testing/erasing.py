"""The promises of a store about the chats of erased users."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from chatcore.errors import ChatExists, ChatNotFound, KeyReused, UserNotFound
from chatcore.events import MarkerMoved
from chatcore.model import Chat, User
from chatcore.names import UserName
from chatcore.ports import MAX_PAGE, ChatStore, Erasure
from chatcore.testing.blocking import block, blocked, expect_closed, unblock
from chatcore.testing.expect import accepted, check, expect_equal, refused, simultaneously
from chatcore.testing.scene import (
    NOW_US,
    add_user,
    ann_and_bob,
    mark,
    read_all,
    read_log,
    send,
)

TOMBSTONE = UserName("Deleted user 1")


class WholeStore(Erasure, ChatStore, Protocol):
    """A store of chats, and of accounts or people."""


async def erase(store: WholeStore, user: User) -> User:
    """Erase the user, and return the user with the tombstone name."""
    await store.erase_user(user.id, TOMBSTONE, NOW_US)
    return User(user.id, TOMBSTONE.canonical, TOMBSTONE.typed, user.realm)


@check
async def an_erased_name_appears_nowhere(store: WholeStore) -> None:
    """After erase_user has returned, earlier chats, lists and events show the tombstone as the
    name. Messages, markers and counts stay."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    other = await store.open_chat(eve.id, ann.id, NOW_US)
    for place, sender in ((chat, bob), (chat, ann), (chat, bob), (other, eve)):
        await send(store, place, sender, "hello")
    await mark(store, chat, bob, 2)
    await mark(store, chat, ann, 1)

    async def seen_by(peer: User, key: str, other_key: str) -> list[object]:
        seen: list[object] = [await store.chat_by_id(chat.id), await read_all(store, chat)]
        seen += [await store.chat_with(peer.id, key), await read_log(store, peer)]
        found = await store.chat_with(peer.id, other_key)
        expect_equal(found, None, f"chat_with({other_key!a}), not the user's present key,")
        for limit in (1, 2, MAX_PAGE):
            seen += await store.chats_of(peer.id, before=None, limit=limit)
            seen += await store.chat_states(peer.id, before=None, limit=limit)
        return [*seen, await store.chat_state(peer.id, chat.id)]

    later = bob._replace(handle=TOMBSTONE.canonical).key
    before = {peer: await seen_by(peer, bob.key, later) for peer in (ann, eve)}
    erased = await erase(store, bob)
    for peer, seen in before.items():
        after = await seen_by(peer, later, bob.key)
        wanted = repr(seen).replace(repr(bob), repr(erased))
        expect_equal(repr(after), wanted, "erase_user changes nothing but the name for the peers")
    expect_equal(await store.user_by_id(ann.id), ann, "erase_user changes no other user's name")


@check
async def chats_of_an_erased_user_are_closed(store: WholeStore) -> None:
    """append_message raises ChatNotFound in the chats of an erased user, for both users, except for
    replays; open_chat raises UserNotFound, or ChatExists if there is a chat."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    other = await store.open_chat(eve.id, ann.id, NOW_US)
    first = {user: await send(store, chat, user, f"of {user.name}", "a-key") for user in (ann, bob)}
    await block(store, ann, bob)
    erased = await erase(store, bob)
    closed = Chat(chat.id, (ann, erased) if ann.id < bob.id else (erased, ann))
    # Still closed after either user ends a block from before the erasure.
    for user, peer in ((ann, bob), (bob, ann)):
        await expect_closed(store, closed, "one user is erased")
        await unblock(store, user, peer)
    await expect_closed(store, closed, "one user is erased")
    for user, sent in first.items():
        with accepted("a replay of append_message after an erasure"):
            again = await send(store, chat, user, f"of {user.name}", "a-key")
        expect_equal(
            again,
            sent._replace(replayed=True),
            "append_message with a known key returns the replay",
        )
        with refused(KeyReused, "append_message with a known key and another text"):
            await send(store, chat, user, "another text", "a-key")
    for user, peer, error in (
        (ann, bob, ChatExists),
        (bob, ann, ChatExists),
        (eve, bob, UserNotFound),
        (bob, eve, UserNotFound),
    ):
        with refused(error, f"open_chat of {user.name} and {peer.name}, one erased,"):
            await store.open_chat(user.id, peer.id, NOW_US)
    for sender in other.users:
        with accepted("append_message in another chat"):
            await send(store, other, sender, "in another chat")


@check
async def an_erased_user_has_no_log_and_no_blocks(store: WholeStore) -> None:
    """erase_user deletes the user's event log, which makes its cursors void, and ends the blocks by
    and of the user. Later steps add nothing to the user's log, and the peer's markers move in the
    peer's log alone."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    for n in range(3):
        await send(store, chat, ann, f"{n}")
    for user, peer in ((bob, ann), (bob, eve), (ann, bob), (eve, bob), (eve, ann)):
        await block(store, user, peer)
    await mark(store, chat, bob, 1)
    end = await store.end_of_log(bob.id)
    erased = await erase(store, bob)

    async def expect_nothing_of(user: User) -> None:
        expect_equal(await store.end_of_log(user.id), end.at(0), "end_of_log of an erased user")
        for n in range(end.n + 2):
            found = await store.events_after(end.at(n), limit=MAX_PAGE)
            entries = None if found is None else list(found)
            expect_equal(entries, None if n else [], f"events_after {n} of an erased user")

    await expect_nothing_of(bob)
    for user, others in ((bob, []), (ann, []), (eve, [ann])):
        expect_equal(await blocked(store, user), others, "blocked_by after the erasure")
    for user, peer in ((ann, bob), (bob, ann)):
        with refused(UserNotFound, f"block of {peer.name} by {user.name}, one erased,"):
            await block(store, user, peer)
    before = await read_log(store, ann)
    expect_equal(
        await mark(store, chat, ann, 2), 2, "move_read_marker of the peer of an erased user"
    )
    await mark(store, chat, bob, 3)
    [moved] = (await read_log(store, ann))[len(before) :]
    found = isinstance(moved, MarkerMoved) and (moved.reader, moved.seq)
    expect_equal(found, (ann, 2), "events_after: the one new entry of the peer")
    state = await store.chat_state(ann.id, chat.id)
    expect_equal(
        state and state.peer_read_seq,
        0,
        "chat_state: peer_read_seq hides moves during a block for ever",
    )
    await expect_nothing_of(erased)


@check
async def nothing_arrives_after_an_erasure(store: WholeStore) -> None:
    """After erase_user has returned, nothing arrives in the user's chats, not even in those
    opened at the same time; each message was stored before, or is refused."""
    for turn in range(5):
        user = await add_user(store, f"erased {turn}")
        peers = [await add_user(store, f"peer {turn} {n}") for n in range(8)]
        chats = [await store.open_chat(user.id, peer.id, NOW_US) for peer in peers[:4]]
        openings = [
            asyncio.create_task(simultaneously([_opened(store, *sides)]))
            for peer in peers[4:]
            for sides in ((user, peer), (peer, user))
        ]
        sends = [
            asyncio.create_task(simultaneously([send(store, chat, chat.users[n % 2], f"{n}")]))
            for n in range(6)
            for chat in chats
        ]
        for _ in range(turn):
            await asyncio.sleep(0)
        await store.erase_user(user.id, UserName(f"deleted {turn}"), NOW_US)
        listed = list(await store.chats_of(user.id, before=None, limit=MAX_PAGE))
        logs = [await read_log(store, peer) for peer in peers]
        outcomes = [outcome for outcomes in await asyncio.gather(*sends) for outcome in outcomes]
        opened = [outcome for outcomes in await asyncio.gather(*openings) for outcome in outcomes]
        refusals = [outcome for outcome in outcomes if isinstance(outcome, ChatNotFound)]
        stored = sum(summary.last_seq for summary in listed)
        expect_equal(
            stored, 24 - len(refusals), "each append_message beside an erasure is stored or refused"
        )
        expect_equal(
            len(listed),
            4 + opened.count(None),
            "each open_chat beside an erasure succeeds or is refused",
        )
        after = list(await store.chats_of(user.id, before=None, limit=MAX_PAGE))
        expect_equal(after, listed, "chats_of does not change after erase_user has returned")
        later = [await read_log(store, peer) for peer in peers]
        expect_equal(later, logs, "the peers' logs do not grow after erase_user has returned")
        for summary in listed:
            await expect_closed(store, summary.chat, "one user is erased")
        expect_equal((await store.end_of_log(user.id)).n, 0, "end_of_log of an erased user")


async def _opened(store: WholeStore, user: User, peer: User) -> None:
    await store.open_chat(user.id, peer.id, NOW_US)


ErasureCheck = Callable[[WholeStore], Awaitable[None]]

ERASURE_CHECKS: tuple[ErasureCheck, ...] = (
    an_erased_name_appears_nowhere,
    chats_of_an_erased_user_are_closed,
    an_erased_user_has_no_log_and_no_blocks,
    nothing_arrives_after_an_erasure,
)
