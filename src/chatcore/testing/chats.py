"""The promises of a ChatStore about chats and lists of chats."""

from chatcore.errors import ChatExists, SelfChat, UserNotFound
from chatcore.model import MAX_INT64, Chat, ChatSummary, User
from chatcore.ports import MAX_PAGE
from chatcore.testing.expect import check, expect, expect_equal, refused, simultaneously
from chatcore.testing.scene import (
    NOW_US,
    UNKNOWN_IDS,
    ChatStoreWithUsers,
    add_user,
    ann_and_bob,
    send,
)


async def chats_of(store: ChatStoreWithUsers, user: User) -> list[ChatSummary]:
    return list(await store.chats_of(user.id, before=None, limit=MAX_PAGE))


@check
async def a_chat_is_the_same_from_both_sides(store: ChatStoreWithUsers) -> None:
    """A chat has its users in ascending order of ids, whichever user opened it, and is the same
    chat from either side, by id and in both lists."""
    ann, bob, eve = [await add_user(store, name) for name in ("ann", "Bob", "eve")]
    for opener, peer in ((ann, bob), (eve, ann)):
        chat = await store.open_chat(opener.id, peer.id, NOW_US)
        first, second = sorted((opener, peer), key=lambda user: user.id)
        expect_equal(chat, Chat(chat.id, (first, second)), "open_chat returns the chat")
        expect_equal(await store.chat_by_id(chat.id), chat, "chat_by_id finds the chat")
        for user, other in ((opener, peer), (peer, opener)):
            found = await store.chat_with(user.id, other.key)
            expect_equal(found, chat, "chat_with finds the chat from either side")
            listed = [summary.chat for summary in await chats_of(store, user)]
            expect(chat in listed, "chats_of lists the chat for either user")


@check
async def a_pair_has_one_chat(store: ChatStoreWithUsers) -> None:
    """open_chat raises ChatExists if the pair has a chat, opened by either user, and changes
    nothing."""
    _, ann, bob = await ann_and_bob(store)
    before = await chats_of(store, ann)
    for user, peer in ((ann, bob), (bob, ann)):
        with refused(ChatExists, "a second open_chat of a pair"):
            await store.open_chat(user.id, peer.id, NOW_US)
        expect_equal(await chats_of(store, user), before, "a refused open_chat changes nothing")


@check
async def of_simultaneous_openings_one_succeeds(store: ChatStoreWithUsers) -> None:
    """Of any number of simultaneous open_chat calls for one pair, from either side, exactly one
    succeeds."""
    ann, bob = await add_user(store, "ann"), await add_user(store, "bob")
    outcomes = await simultaneously(
        store.open_chat(user.id, peer.id, NOW_US) for user, peer in [(ann, bob), (bob, ann)] * 16
    )
    chats = [chat for chat in outcomes if isinstance(chat, Chat)]
    expect_equal(len(chats), 1, "simultaneous open_chat of one pair: calls that succeed")
    others = [outcome for outcome in outcomes if isinstance(outcome, ChatExists)]
    expect_equal(len(others), 31, "simultaneous open_chat of one pair: calls that raise ChatExists")
    for user in (ann, bob):
        listed = [summary.chat for summary in await chats_of(store, user)]
        expect_equal(
            listed, chats, "simultaneous open_chat of one pair: the successful call is stored"
        )


@check
async def a_chat_with_oneself_is_refused(store: ChatStoreWithUsers) -> None:
    """open_chat raises SelfChat if both ids are the same."""
    ann = await add_user(store, "ann")
    with refused(SelfChat, "open_chat with oneself"):
        await store.open_chat(ann.id, ann.id, NOW_US)
    expect_equal(await chats_of(store, ann), [], "a refused open_chat changes nothing")


@check
async def a_chat_with_an_unknown_user_is_refused(store: ChatStoreWithUsers) -> None:
    """open_chat raises UserNotFound if either id is unknown."""
    ann = await add_user(store, "ann")
    for unknown in UNKNOWN_IDS:
        with refused(UserNotFound, f"open_chat with the unknown user {unknown}"):
            await store.open_chat(ann.id, unknown, NOW_US)
        with refused(UserNotFound, f"open_chat by the unknown user {unknown}"):
            await store.open_chat(unknown, ann.id, NOW_US)
        expect_equal(await chats_of(store, ann), [], "a refused open_chat changes nothing")


@check
async def unknown_chats_are_none(store: ChatStoreWithUsers) -> None:
    """chat_with and chat_by_id return None, and chats_of nothing, for unknown chats and users."""
    _, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    strangers = ((ann, ann.key), (ann, eve.key), (eve, ann.key))
    for user, peer in (*strangers, (ann, f"{bob.key}by"), (bob, "")):
        expect_equal(
            await store.chat_with(user.id, peer),
            None,
            f"chat_with of {user.name} and {peer!r}, who have no chat",
        )
    for unknown in UNKNOWN_IDS:
        expect_equal(await store.chat_by_id(unknown), None, f"chat_by_id({unknown})")
        expect_equal(
            await store.chat_with(unknown, ann.key),
            None,
            f"chat_with of the unknown user {unknown}",
        )
        listed = list(await store.chats_of(unknown, before=None, limit=MAX_PAGE))
        expect_equal(listed, [], f"chats_of the unknown user {unknown}")


@check
async def users_see_their_own_chats_alone(store: ChatStoreWithUsers) -> None:
    """chats_of lists every chat of the user once, and no other chat."""
    users = [await add_user(store, name) for name in ("ann", "bob", "eve", "dan")]
    opened = [
        await store.open_chat(users[one].id, users[other].id, NOW_US)
        for one, other in ((0, 1), (2, 0), (1, 2))
    ]
    expect_equal(len({chat.id for chat in opened}), 3, "open_chat gives every chat a different id")
    expect(
        all(0 < chat.id <= MAX_INT64 for chat in opened), "open_chat gives ids from 1 to 2**63 - 1"
    )
    for user in users:
        mine = [chat for chat in reversed(opened) if user in chat.users]
        listed = [summary.chat for summary in await chats_of(store, user)]
        expect_equal(listed, mine, f"chats_of lists the chats of {user.name}")


@check
async def an_active_chat_is_listed_first(store: ChatStoreWithUsers) -> None:
    """chats_of lists the most recently active chat first, for both users: the chat last opened or
    last sent to, by either user."""
    hub = await add_user(store, "hub")
    peers = [await add_user(store, name) for name in ("ann", "bob", "eve")]
    chats: list[Chat] = []
    for peer in peers:
        chats.insert(0, await store.open_chat(peer.id, hub.id, NOW_US))
        listed = [summary.chat for summary in await chats_of(store, hub)]
        expect_equal(listed, chats, "chats_of lists the chat opened last first")
    ann, bob, eve = reversed(chats)
    for chat, sender, wanted in (
        (ann, hub, [ann, eve, bob]),
        (bob, peers[1], [bob, ann, eve]),
        (bob, hub, [bob, ann, eve]),
        (eve, peers[2], [eve, bob, ann]),
    ):
        await send(store, chat, sender, "hello")
        summaries = await chats_of(store, hub)
        expect_equal(
            [it.chat for it in summaries], wanted, "chats_of lists the chat sent to last first"
        )
        activities = [summary.activity for summary in summaries]
        expect_equal(
            activities,
            sorted({*activities}, reverse=True),
            "chats_of lists chats by descending activity",
        )
        expect(activities[-1] > 0, "chats_of gives positive activities")


@check
async def summaries_have_the_newest_number(store: ChatStoreWithUsers) -> None:
    """chats_of gives the number of each chat's newest message, 0 without messages."""
    chat, ann, bob = await ann_and_bob(store)
    for count, sender in enumerate((ann, bob, bob, None)):
        for user in (ann, bob):
            seqs = [summary.last_seq for summary in await chats_of(store, user)]
            expect_equal(seqs, [count], "chats_of gives the newest number as last_seq")
        if sender:
            await send(store, chat, sender, "hello")


@check
async def pages_of_chats_are_exclusive(store: ChatStoreWithUsers) -> None:
    """chats_of returns up to `limit` chats, with `before` only chats of a smaller activity; all
    pages together show every chat once."""
    hub = await add_user(store, "hub")
    for n in range(7):
        peer = await add_user(store, f"peer {n}")
        await store.open_chat(*((hub.id, peer.id) if n % 2 else (peer.id, hub.id)), NOW_US)
    everything = await chats_of(store, hub)
    expect_equal(len(everything), 7, "chats_of lists every chat")
    for limit in (1, 2, 3, 6, 7, 8):
        for start in range(8):
            before = everything[start - 1].activity if start else None
            page = list(await store.chats_of(hub.id, before=before, limit=limit))
            wanted = everything[start : start + limit]
            expect_equal(page, wanted, f"chats_of: {limit} chats after the first {start}")


@check
async def simultaneous_openings_are_each_listed_once(store: ChatStoreWithUsers) -> None:
    """No two chats of a user have the same activity, also after simultaneous open_chat and
    append_message: a page could skip one of them."""
    hub = await add_user(store, "hub")
    peers = [await add_user(store, f"peer {n}") for n in range(24)]
    opened = await simultaneously(store.open_chat(hub.id, peer.id, NOW_US) for peer in peers[:12])
    chats = [chat for chat in opened if isinstance(chat, Chat)]
    await simultaneously(
        [send(store, chat, hub, "hello") for chat in chats]
        + [store.open_chat(hub.id, peer.id, NOW_US) for peer in peers[12:]]
    )
    summaries = await chats_of(store, hub)
    expect_equal(
        len({summary.chat.id for summary in summaries}),
        24,
        "chats_of lists every chat after simultaneous open_chat",
    )
    expect_equal(
        len({summary.activity for summary in summaries}),
        24,
        "chats_of gives every chat a different activity",
    )


CHAT_CHECKS = (
    a_chat_is_the_same_from_both_sides,
    a_pair_has_one_chat,
    of_simultaneous_openings_one_succeeds,
    a_chat_with_oneself_is_refused,
    a_chat_with_an_unknown_user_is_refused,
    unknown_chats_are_none,
    users_see_their_own_chats_alone,
    an_active_chat_is_listed_first,
    summaries_have_the_newest_number,
    pages_of_chats_are_exclusive,
    simultaneous_openings_are_each_listed_once,
)
