"""The promises of a ChatStore about users who block each other."""

import asyncio
from itertools import product

from chatcore.errors import ChatExists, ChatNotFound, KeyReused, SelfChat, UserNotFound
from chatcore.events import MarkerMoved
from chatcore.model import MAX_INT64, Chat, User
from chatcore.ports import MAX_PAGE
from chatcore.testing.expect import accepted, check, expect_equal, refused, simultaneously
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
    """Return everything that the two users of a chat can read."""
    seen: list[object] = [await store.chat_by_id(chat.id), await read_all(store, chat)]
    for user in chat.users:
        seen += [
            await read_log(store, user),
            list(await store.chats_of(user.id, before=None, limit=MAX_PAGE)),
            list(await store.chat_states(user.id, before=None, limit=MAX_PAGE)),
            await store.chat_with(user.id, chat.peer_of(user).key),
        ]
    return seen


async def expect_closed(store: ChatStoreWithUsers, chat: Chat, why: str) -> None:
    """Expect that both users' sends are refused and change nothing."""
    before = await what_they_see(store, chat)
    for sender, key in product(chat.users, (None, "a-new-key")):
        with refused(ChatNotFound, f"append_message while {why}"):
            await send(store, chat, sender, "hello", key)
    expect_equal(
        await what_they_see(store, chat), before, "a refused append_message changes nothing"
    )


@check
async def nothing_is_sent_while_one_blocks(store: ChatStoreWithUsers) -> None:
    """append_message raises ChatNotFound while either user blocks the other, for both users and
    only in their chat; the chat stays readable. After unblock it accepts messages again, with
    the next number."""
    chat, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    others = [await store.open_chat(eve.id, user.id, NOW_US) for user in (ann, bob)]
    for seq, (blocker, peer) in enumerate(((ann, bob), (bob, ann)), start=1):
        await send(store, chat, peer, "before", "a-key")
        before = await what_they_see(store, chat)
        await block(store, blocker, peer)
        expect_equal(
            await what_they_see(store, chat),
            before,
            "block changes nothing that the two users can read",
        )
        await expect_closed(store, chat, f"{blocker.name} blocks {peer.name}")
        for other in others:
            for sender in other.users:
                with accepted("append_message in another chat"):
                    await send(store, other, sender, "in another chat")
        await unblock(store, blocker, peer)
        with accepted("append_message after unblock"):
            sent = await send(store, chat, (ann, bob)[seq % 2], "after")
        expect_equal(
            sent.message.seq, 2 * seq, "append_message after unblock gives the next number"
        )


@check
async def replays_are_answered_while_one_blocks(store: ChatStoreWithUsers) -> None:
    """While either user blocks the other, append_message with a key used before the block returns
    the replay, and raises KeyReused if the text differs."""
    chat, ann, bob = await ann_and_bob(store)
    first = {user: await send(store, chat, user, f"of {user.name}", "a-key") for user in (ann, bob)}
    for blocker, peer in ((ann, bob), (bob, ann)):
        await block(store, blocker, peer)
        for user, sent in first.items():
            with accepted("a replay of append_message during a block"):
                again = await send(store, chat, user, f"of {user.name}", "a-key")
            expect_equal(
                again,
                sent._replace(replayed=True),
                "append_message with a known key returns the replay",
            )
            with refused(KeyReused, "append_message with a known key and another text"):
                await send(store, chat, user, "another text", "a-key")
        await unblock(store, blocker, peer)
    expect_equal(await store.last_seq(chat.id), 2, "last_seq after replays and refusals")


@check
async def no_chat_is_opened_while_one_blocks(store: ChatStoreWithUsers) -> None:
    """open_chat raises UserNotFound while either user blocks the other, from either side; but
    ChatExists if they have a chat, and SelfChat for equal ids."""
    ann, bob, eve = [await add_user(store, name) for name in ("ann", "bob", "eve")]
    chat = await store.open_chat(ann.id, eve.id, NOW_US)
    for blocker, peer in ((ann, bob), (bob, ann), (ann, eve), (eve, ann)):
        await block(store, blocker, peer)
        for user, other in ((blocker, peer), (peer, blocker)):
            with refused(
                ChatExists if eve in {blocker, peer} else UserNotFound, "open_chat during a block"
            ):
                await store.open_chat(user.id, other.id, NOW_US)
            with refused(SelfChat, "open_chat with oneself"):
                await store.open_chat(user.id, user.id, NOW_US)
        await unblock(store, blocker, peer)
    expect_equal(await read_log(store, bob), [], "a refused open_chat adds no event")
    opened = await store.open_chat(bob.id, ann.id, NOW_US)
    listed = await store.chats_of(ann.id, before=None, limit=MAX_PAGE)
    expect_equal(
        [it.chat for it in listed], [opened, chat], "open_chat after unblock opens the chat"
    )


@check
async def a_chat_is_closed_until_both_blocks_end(store: ChatStoreWithUsers) -> None:
    """A chat is closed until neither user blocks the other. One unblock ends that user's block,
    also after several calls of block, and also without a chat."""
    ann, bob = await add_user(store, "ann"), await add_user(store, "bob")
    chat = None
    for first, second in ((ann, bob), (bob, ann)):
        for _ in range(2):
            await block(store, first, second)
        await block(store, second, first)
        await unblock(store, first, second)
        expect_equal(await blocked(store, first), [], "unblock ends the block of its user")
        expect_equal(await blocked(store, second), [first], "unblock keeps the block of the peer")
        if chat is None:
            with refused(UserNotFound, "open_chat while one user still blocks"):
                await store.open_chat(first.id, second.id, NOW_US)
        else:
            await expect_closed(store, chat, "one user still blocks")
        await unblock(store, second, first)
        chat = chat or await store.open_chat(first.id, second.id, NOW_US)
        for sender in (first, second):
            with accepted("append_message after both blocks ended"):
                await send(store, chat, sender, "hello")


@check
async def markers_are_hidden_from_the_peer_while_one_blocks(store: ChatStoreWithUsers) -> None:
    """While one user blocks the other, move_read_marker moves the user's own marker and adds an
    entry to the user's own log; the peer's log and the marker that the peer sees stay. After the
    block, the next move shows the peer that move alone."""
    chat, ann, bob = await ann_and_bob(store)
    for n in range(9):
        await send(store, chat, (ann, bob)[n % 2], f"{n}")

    async def expect_markers(reader: User, own: int, shown: int) -> None:
        peer = chat.peer_of(reader)
        mine = await store.chat_state(reader.id, chat.id)
        its = await store.chat_state(peer.id, chat.id)
        expect_equal(mine and mine.read_seq, own, "chat_state: the user's own read_seq")
        expect_equal(its and its.peer_read_seq, shown, "chat_state: peer_read_seq of the peer")
        listed = await store.chat_states(peer.id, before=None, limit=MAX_PAGE)
        expect_equal(listed[0].peer_read_seq, shown, "chat_states: peer_read_seq of the peer")
        seen = []
        for user in (reader, peer):
            log = await read_log(store, user)
            marks = [it for it in log if isinstance(it, MarkerMoved) and it.reader == reader]
            seen.append([it.seq for it in marks][-1:])
        expect_equal(
            seen, [[own], [shown]], "events_after: newest marker in the user's, the peer's log"
        )

    for reader, (blocker, peer) in product((ann, bob), ((ann, bob), (bob, ann))):
        state = await store.chat_state(reader.id, chat.id)
        seq = 1 + (state.read_seq if state else 0)
        expect_equal(await mark(store, chat, reader, seq), seq, "move_read_marker")
        await expect_markers(reader, seq, seq)
        await block(store, blocker, peer)
        expect_equal(await mark(store, chat, reader, seq + 1), seq + 1, "move_read_marker")
        await expect_markers(reader, seq + 1, seq)
        await unblock(store, blocker, peer)
        expect_equal(await mark(store, chat, reader, seq + 1), seq + 1, "move_read_marker")
        await expect_markers(reader, seq + 1, seq)
        expect_equal(await mark(store, chat, reader, seq + 2), seq + 2, "move_read_marker")
        await expect_markers(reader, seq + 2, seq + 2)


@check
async def users_list_their_blocks(store: ChatStoreWithUsers) -> None:
    """blocked_by returns the users that the user blocks, not those that block the user: the first
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
            expect_equal(
                found, peers[start : start + limit], f"blocked_by: {limit} after the first {start}"
            )
    expect_equal(
        await blocked(store, peers[0]), [hub], "blocked_by returns the user's own blocks alone"
    )
    for user_id in (peers[1].id, *UNKNOWN_IDS):
        found = list(await store.blocked_by(user_id, after=0, limit=MAX_PAGE))
        expect_equal(found, [], "blocked_by of a user without blocks")
    beyond = await store.blocked_by(hub.id, after=MAX_INT64, limit=MAX_PAGE)
    expect_equal(list(beyond), [], "blocked_by after the largest id")


@check
async def block_refuses_oneself_and_unknown_users(store: ChatStoreWithUsers) -> None:
    """block raises SelfChat if both ids are the same, known or not, and UserNotFound if either is
    unknown; unblock refuses nothing."""
    ann = await add_user(store, "ann")
    for user_id in (ann.id, *UNKNOWN_IDS):
        with refused(SelfChat, "block of oneself"):
            await store.block(user_id, user_id, NOW_US)
        with accepted("unblock without a block"):
            await store.unblock(user_id, user_id)
        for unknown in UNKNOWN_IDS:
            for pair in {(user_id, unknown), (unknown, user_id)}:
                if pair[0] != pair[1]:
                    with refused(UserNotFound, f"block of {pair[1]} by {pair[0]}, one unknown,"):
                        await store.block(*pair, NOW_US)
                with accepted("unblock of an unknown user"):
                    await store.unblock(*pair)
        found = list(await store.blocked_by(user_id, after=0, limit=MAX_PAGE))
        expect_equal(found, [], "a refused block changes nothing")


@check
async def nothing_arrives_after_a_block(store: ChatStoreWithUsers) -> None:
    """After block has returned, nothing arrives in the chat, not even from simultaneous calls: each
    of them took effect before, or is refused."""
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
        expect_equal(
            await store.last_seq(chat.id), last, "last_seq does not grow after block has returned"
        )
        expect_equal(
            last - before,
            24 - len(refusals),
            "each append_message beside a block is stored or refused",
        )
        for user, log in zip((ann, bob), logs, strict=True):
            later = (await read_log(store, user))[len(log) :]
            own = [it for it in later if isinstance(it, MarkerMoved) and it.reader == user]
            expect_equal(
                later, own, "the event log gets nothing of the peer after block has returned"
            )
        await unblock(store, blocker, peer)
        await send(store, chat, ann, "after the block")


@check
async def simultaneous_blocks_and_openings_agree(store: ChatStoreWithUsers) -> None:
    """After simultaneous calls of block, unblock and open_chat, from either side, the blocks and
    the state of the chat agree."""
    for turn in range(8):
        ann, bob = await add_user(store, f"ann {turn}"), await add_user(store, f"bob {turn}")
        calls = [block(store, ann, bob), block(store, bob, ann), _opened(store, bob, ann)]
        if turn % 2:
            calls += [unblock(store, ann, bob), block(store, bob, ann)]
        await simultaneously(calls if turn % 4 < 2 else reversed(calls))
        expect_equal(
            await blocked(store, bob), [ann], "blocked_by after simultaneous block and unblock"
        )
        chat = await store.chat_with(ann.id, bob.key)
        if chat is None:
            with refused(UserNotFound, "open_chat while one user blocks"):
                await store.open_chat(ann.id, bob.id, NOW_US)
        else:
            await expect_closed(store, chat, "one user blocks")
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
    a_chat_is_closed_until_both_blocks_end,
    markers_are_hidden_from_the_peer_while_one_blocks,
    users_list_their_blocks,
    block_refuses_oneself_and_unknown_users,
    nothing_arrives_after_a_block,
    simultaneous_blocks_and_openings_agree,
)
