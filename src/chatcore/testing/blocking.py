"""What a ChatStore promises of users who block each other."""

import asyncio
from itertools import product

from chatcore.errors import ChatExists, ChatNotFound, KeyReused, SelfChat, UserNotFound
from chatcore.events import MarkerMoved
from chatcore.model import MAX_INT64, Chat, User
from chatcore.ports import MAX_PAGE
from chatcore.testing.expect import accepted, expect_equal, refused, simultaneously
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


async def block(store: ChatStoreWithUsers, user: User, peer: User) -> None:
    await store.block(user.id, peer.id, NOW_US)


async def unblock(store: ChatStoreWithUsers, user: User, peer: User) -> None:
    await store.unblock(user.id, peer.id)


async def blocked(store: ChatStoreWithUsers, user: User) -> list[User]:
    return list(await store.blocked_by(user.id, after=0, limit=MAX_PAGE))


async def what_they_see(store: ChatStoreWithUsers, chat: Chat) -> list[object]:
    """All that the two users of a chat are shown."""
    seen: list[object] = [await store.chat_by_id(chat.id), await read_all(store, chat)]
    for user in chat.users:
        seen += [
            await read_log(store, user),
            list(await store.chats_of(user.id, before=None, limit=MAX_PAGE)),
            list(await store.chat_states(user.id, before=None, limit=MAX_PAGE)),
            await store.chat_with(user.id, chat.peer_of(user).name),
        ]
    return seen


async def expect_closed(store: ChatStoreWithUsers, chat: Chat, why: str) -> None:
    """Expect that neither can send anything, and that neither sees anything of it."""
    before = await what_they_see(store, chat)
    for sender, key in product(chat.users, (None, "a-new-key")):
        with refused(ChatNotFound, f"a message while {why}"):
            await send(store, chat, sender, "hello", key)
    expect_equal(await what_they_see(store, chat), before, "a refusal changes nothing")


async def nothing_is_sent_while_one_blocks(store: ChatStoreWithUsers) -> None:
    """append_message raises ChatNotFound while either user blocks the other, for both of them,
    in their chat alone; what they have stays to be read. After unblock all is as it was, and
    numbers go on."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    others = [await store.open_chat(eve.id, user.id, NOW_US) for user in (ann, bob)]
    for seq, (blocker, peer) in enumerate(((ann, bob), (bob, ann)), start=1):
        await send(store, chat, peer, "before", "a-key")
        before = await what_they_see(store, chat)
        await block(store, blocker, peer)
        expect_equal(await what_they_see(store, chat), before, "a block itself shows nowhere")
        await expect_closed(store, chat, f"{blocker.name} blocks {peer.name}")
        for other in others:
            for sender in other.users:
                with accepted("a message in another chat"):
                    await send(store, other, sender, "other chats go on")
        await unblock(store, blocker, peer)
        with accepted("a message after unblock"):
            sent = await send(store, chat, (ann, bob)[seq % 2], "after")
        expect_equal(sent.message.seq, 2 * seq, "numbers go on without gaps")


async def replays_are_answered_while_one_blocks(store: ChatStoreWithUsers) -> None:
    """A message that was stored before the block is a replay for its key, or KeyReused with
    another text, whoever blocks."""
    chat, ann, bob = await ann_and_bob(store)
    first = {user: await send(store, chat, user, f"of {user.name}", "a-key") for user in (ann, bob)}
    for blocker, peer in ((ann, bob), (bob, ann)):
        await block(store, blocker, peer)
        for user, sent in first.items():
            with accepted("a replay"):
                again = await send(store, chat, user, f"of {user.name}", "a-key")
            expect_equal(again, sent._replace(replayed=True), "a known key is a replay")
            with refused(KeyReused, "a known key with another text"):
                await send(store, chat, user, "another text", "a-key")
        await unblock(store, blocker, peer)
    expect_equal(await store.last_seq(chat.id), 2, "nothing was stored")


async def no_chat_is_opened_while_one_blocks(store: ChatStoreWithUsers) -> None:
    """open_chat raises UserNotFound while either blocks the other, from either side; but
    ChatExists when they have a chat, as ever, and SelfChat for oneself."""
    ann, bob, eve = [await add_user(store, name) for name in ("ann", "bob", "eve")]
    chat = await store.open_chat(ann.id, eve.id, NOW_US)
    for blocker, peer in ((ann, bob), (bob, ann), (ann, eve), (eve, ann)):
        await block(store, blocker, peer)
        for user, other in ((blocker, peer), (peer, blocker)):
            with refused(ChatExists if eve in {blocker, peer} else UserNotFound, "an opening"):
                await store.open_chat(user.id, other.id, NOW_US)
            with refused(SelfChat, "a chat with oneself"):
                await store.open_chat(user.id, user.id, NOW_US)
        await unblock(store, blocker, peer)
    expect_equal(await read_log(store, bob), [], "a refusal changes nothing")
    opened = await store.open_chat(bob.id, ann.id, NOW_US)
    listed = await store.chats_of(ann.id, before=None, limit=MAX_PAGE)
    expect_equal([it.chat for it in listed], [opened, chat], "after unblock they can")


async def every_block_has_to_end(store: ChatStoreWithUsers) -> None:
    """A chat is closed until neither blocks the other: unblock ends the block of that one
    user, wholly, however often it was begun, and also when there was no chat yet."""
    ann, bob = await add_user(store, "ann"), await add_user(store, "bob")
    chat = None
    for first, second in ((ann, bob), (bob, ann)):
        for _ in range(2):
            await block(store, first, second)
        await block(store, second, first)
        await unblock(store, first, second)
        expect_equal(await blocked(store, first), [], "that block has ended")
        expect_equal(await blocked(store, second), [first], "the other one has not")
        if chat is None:
            with refused(UserNotFound, "an opening while one still blocks"):
                await store.open_chat(first.id, second.id, NOW_US)
        else:
            await expect_closed(store, chat, "one still blocks")
        await unblock(store, second, first)
        chat = chat or await store.open_chat(first.id, second.id, NOW_US)
        for sender in (first, second):
            with accepted("a message when both have ended"):
                await send(store, chat, sender, "hello")


async def the_peer_is_not_told_of_markers_while_one_blocks(store: ChatStoreWithUsers) -> None:
    """While one blocks the other, move_read_marker moves the user's own marker and tells the
    user's own log, but not the peer: neither the peer's log nor the marker that the peer sees.
    After the block, the next move tells of itself alone."""
    chat, ann, bob = await ann_and_bob(store)
    for n in range(9):
        await send(store, chat, (ann, bob)[n % 2], f"{n}")

    async def expect_markers(reader: User, own: int, told: int) -> None:
        peer = chat.peer_of(reader)
        mine = await store.chat_state(reader.id, chat.id)
        its = await store.chat_state(peer.id, chat.id)
        expect_equal(mine and mine.read_seq, own, "the user's own marker")
        expect_equal(its and its.peer_read_seq, told, "the marker that the peer sees")
        listed = await store.chat_states(peer.id, before=None, limit=MAX_PAGE)
        expect_equal(listed[0].peer_read_seq, told, "the marker that the peer sees in the list")
        seen = []
        for user in (reader, peer):
            log = await read_log(store, user)
            marks = [it for it in log if isinstance(it, MarkerMoved) and it.reader == reader]
            seen.append([it.seq for it in marks][-1:])
        expect_equal(seen, [[own], [told]], "the newest marker in both logs")

    for reader, (blocker, peer) in product((ann, bob), ((ann, bob), (bob, ann))):
        state = await store.chat_state(reader.id, chat.id)
        told = 1 + (state.read_seq if state else 0)
        expect_equal(await mark(store, chat, reader, told), told, "the marker")
        await expect_markers(reader, told, told)
        await block(store, blocker, peer)
        expect_equal(await mark(store, chat, reader, told + 1), told + 1, "the marker moves")
        await expect_markers(reader, told + 1, told)
        await unblock(store, blocker, peer)
        expect_equal(await mark(store, chat, reader, told + 1), told + 1, "the marker stays")
        await expect_markers(reader, told + 1, told)
        expect_equal(await mark(store, chat, reader, told + 2), told + 2, "the marker moves")
        await expect_markers(reader, told + 2, told + 2)


async def users_see_whom_they_block(store: ChatStoreWithUsers) -> None:
    """blocked_by returns those whom the user blocks, and nobody who blocks the user: the first
    `limit` with ids above `after`, by ascending id."""
    hub = await add_user(store, "hub")
    peers = [await add_user(store, f"Peer {n}") for n in range(7)]
    for peer in (*peers[1::2], *peers[::2], peers[3]):
        await block(store, hub, peer)
    await block(store, peers[0], hub)
    peers.sort()
    for limit in (1, 3, 6, 7, MAX_PAGE):
        for start in range(8):
            after = peers[start - 1].id if start else 0
            found = list(await store.blocked_by(hub.id, after=after, limit=limit))
            expect_equal(found, peers[start : start + limit], f"{limit} after the first {start}")
    expect_equal(await blocked(store, peers[0]), [hub], "only the user's own blocks")
    for user_id in (peers[1].id, *UNKNOWN_IDS):
        found = list(await store.blocked_by(user_id, after=0, limit=MAX_PAGE))
        expect_equal(found, [], "who blocks nobody")
    beyond = await store.blocked_by(hub.id, after=MAX_INT64, limit=MAX_PAGE)
    expect_equal(list(beyond), [], "nobody is above the largest id")


async def nobody_blocks_nobody(store: ChatStoreWithUsers) -> None:
    """block raises SelfChat when both ids are the same, known or not, and UserNotFound when
    either is unknown; unblock refuses nothing."""
    ann = await add_user(store, "ann")
    for user_id in (ann.id, *UNKNOWN_IDS):
        with refused(SelfChat, "to block oneself"):
            await store.block(user_id, user_id, NOW_US)
        with accepted("the end of no block"):
            await store.unblock(user_id, user_id)
        for unknown in UNKNOWN_IDS:
            for pair in {(user_id, unknown), (unknown, user_id)}:
                if pair[0] != pair[1]:
                    with refused(UserNotFound, "a block of nobody, or by nobody,"):
                        await store.block(*pair, NOW_US)
                with accepted("the end of no block"):
                    await store.unblock(*pair)
        found = list(await store.blocked_by(user_id, after=0, limit=MAX_PAGE))
        expect_equal(found, [], "a refusal changes nothing")


async def nothing_arrives_after_a_block(store: ChatStoreWithUsers) -> None:
    """Once block has returned, nothing arrives in the chat, also not what was sent, read or
    opened at the same time; each of that happened before, or is refused."""
    chat, ann, bob = await ann_and_bob(store)
    for turn in range(6):
        blocker, peer = (ann, bob) if turn % 2 else (bob, ann)
        before = await store.last_seq(chat.id)
        sends = [
            asyncio.create_task(simultaneously([send(store, chat, (ann, bob)[n % 2], f"{turn}")]))
            for n in range(24)
        ]
        marks = [
            asyncio.create_task(mark(store, chat, user, before)) for user in (ann, bob, ann, bob)
        ]
        for _ in range(turn):
            await asyncio.sleep(0)
        await block(store, blocker, peer)
        last = await store.last_seq(chat.id)
        logs = [await read_log(store, user) for user in (ann, bob)]
        outcomes = [outcome for outcomes in await asyncio.gather(*sends) for outcome in outcomes]
        await asyncio.gather(*marks)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, ChatNotFound)]
        expect_equal(await store.last_seq(chat.id), last, "nothing is stored after the block")
        expect_equal(last - before, 24 - len(refusals), "each was stored, or refused")
        for user, log in zip((ann, bob), logs, strict=True):
            later = (await read_log(store, user))[len(log) :]
            own = [it for it in later if isinstance(it, MarkerMoved) and it.reader == user]
            expect_equal(later, own, "nothing is heard after the block")
        await unblock(store, blocker, peer)
        await send(store, chat, ann, "and it is over")


async def blocks_hold_whatever_happens_at_once(store: ChatStoreWithUsers) -> None:
    """Of a block, an unblock and an opening at the same time, from either side: who is blocked
    then, and whether the two can talk, agree."""
    for turn in range(8):
        ann, bob = await add_user(store, f"ann {turn}"), await add_user(store, f"bob {turn}")
        calls = [block(store, ann, bob), block(store, bob, ann), _opened(store, bob, ann)]
        if turn % 2:
            calls += [unblock(store, ann, bob), block(store, bob, ann)]
        await simultaneously(calls if turn % 4 < 2 else reversed(calls))
        expect_equal(await blocked(store, bob), [ann], "nobody took this block back")
        chat = await store.chat_with(ann.id, bob.name)
        if chat is None:
            with refused(UserNotFound, "an opening while one blocks"):
                await store.open_chat(ann.id, bob.id, NOW_US)
        else:
            await expect_closed(store, chat, "one blocks")
        for user, peer in ((bob, ann), (ann, bob)):
            await unblock(store, user, peer)
        chat = chat or await store.open_chat(ann.id, bob.id, NOW_US)
        await send(store, chat, ann, "hello")


async def _opened(store: ChatStoreWithUsers, user: User, peer: User) -> None:
    await store.open_chat(user.id, peer.id, NOW_US)


BLOCK_CHECKS = (
    nothing_is_sent_while_one_blocks,
    replays_are_answered_while_one_blocks,
    no_chat_is_opened_while_one_blocks,
    every_block_has_to_end,
    the_peer_is_not_told_of_markers_while_one_blocks,
    users_see_whom_they_block,
    nobody_blocks_nobody,
    nothing_arrives_after_a_block,
    blocks_hold_whatever_happens_at_once,
)
