"""What a ChatStore promises of chats and lists of them."""

from chatcore.errors import ChatExists, SelfChat, UserNotFound
from chatcore.model import MAX_INT64, Chat, ChatSummary, User
from chatcore.ports import MAX_PAGE
from chatcore.testing.expect import expect, expect_equal, refused, simultaneously
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


async def a_chat_is_alike_from_both_sides(store: ChatStoreWithUsers) -> None:
    """A chat has its users in ascending order of their ids, whoever opened it, and is the same
    chat from either side, by id and in both lists."""
    ann, bob, eve = [await add_user(store, name) for name in ("ann", "Bob", "eve")]
    for opener, peer in ((ann, bob), (eve, ann)):
        chat = await store.open_chat(opener.id, peer.id, NOW_US)
        first, second = sorted((opener, peer), key=lambda user: user.id)
        expect_equal(chat, Chat(chat.id, (first, second)), "open_chat returns the chat")
        expect_equal(await store.chat_by_id(chat.id), chat, "chat_by_id finds it")
        for user, other in ((opener, peer), (peer, opener)):
            found = await store.chat_with(user.id, other.name.lower())
            expect_equal(found, chat, "chat_with finds it from either side")
            listed = [summary.chat for summary in await chats_of(store, user)]
            expect(chat in listed, "chats_of lists it on either side")


async def a_pair_has_one_chat(store: ChatStoreWithUsers) -> None:
    """open_chat raises ChatExists when the pair has a chat, whoever opened it, and changes
    nothing."""
    _, ann, bob = await ann_and_bob(store)
    before = await chats_of(store, ann)
    for user, peer in ((ann, bob), (bob, ann)):
        with refused(ChatExists, "a second chat of a pair"):
            await store.open_chat(user.id, peer.id, NOW_US)
        expect_equal(await chats_of(store, user), before, "a refusal changes nothing")


async def of_simultaneous_openings_one_succeeds(store: ChatStoreWithUsers) -> None:
    """Of any number of simultaneous openings of one chat, from either side, exactly one
    succeeds."""
    ann, bob = await add_user(store, "ann"), await add_user(store, "bob")
    outcomes = await simultaneously(
        store.open_chat(user.id, peer.id, NOW_US) for user, peer in [(ann, bob), (bob, ann)] * 16
    )
    chats = [chat for chat in outcomes if isinstance(chat, Chat)]
    expect_equal(len(chats), 1, "one opening succeeds")
    others = [outcome for outcome in outcomes if isinstance(outcome, ChatExists)]
    expect_equal(len(others), 31, "the others get ChatExists")
    for user in (ann, bob):
        listed = [summary.chat for summary in await chats_of(store, user)]
        expect_equal(listed, chats, "the one that succeeded is what is stored")


async def a_chat_with_oneself_is_refused(store: ChatStoreWithUsers) -> None:
    """open_chat raises SelfChat when both ids are the same."""
    ann = await add_user(store, "ann")
    with refused(SelfChat, "a chat with oneself"):
        await store.open_chat(ann.id, ann.id, NOW_US)
    expect_equal(await chats_of(store, ann), [], "a refusal changes nothing")


async def a_chat_with_an_unknown_user_is_refused(store: ChatStoreWithUsers) -> None:
    """open_chat raises UserNotFound when either id is unknown."""
    ann = await add_user(store, "ann")
    for unknown in UNKNOWN_IDS:
        with refused(UserNotFound, "a chat with an unknown user"):
            await store.open_chat(ann.id, unknown, NOW_US)
        with refused(UserNotFound, "a chat of an unknown user"):
            await store.open_chat(unknown, ann.id, NOW_US)
        expect_equal(await chats_of(store, ann), [], "a refusal changes nothing")


async def unknown_chats_are_none(store: ChatStoreWithUsers) -> None:
    """A chat that does not exist is no error: there is none."""
    _, ann, bob = await ann_and_bob(store)
    eve = await add_user(store, "eve")
    for user, peer in ((ann, "ann"), (ann, "eve"), (eve, "ann"), (ann, "nobody"), (bob, "")):
        expect_equal(await store.chat_with(user.id, peer), None, f"{user.name} with {peer!r}")
    for unknown in UNKNOWN_IDS:
        expect_equal(await store.chat_by_id(unknown), None, "no chat has an unknown id")
        expect_equal(await store.chat_with(unknown, "ann"), None, "nobody has no chat")
        listed = list(await store.chats_of(unknown, before=None, limit=MAX_PAGE))
        expect_equal(listed, [], "nobody has no chats")


async def users_see_their_own_chats_alone(store: ChatStoreWithUsers) -> None:
    """chats_of lists the chats that the user is in, each once, and no other."""
    users = [await add_user(store, name) for name in ("ann", "bob", "eve", "dan")]
    opened = [
        await store.open_chat(users[one].id, users[other].id, NOW_US)
        for one, other in ((0, 1), (2, 0), (1, 2))
    ]
    expect_equal(len({chat.id for chat in opened}), 3, "every chat has an id of its own")
    expect(all(0 < chat.id <= MAX_INT64 for chat in opened), "ids are positive")
    for user in users:
        mine = [chat for chat in reversed(opened) if user in chat.users]
        listed = [summary.chat for summary in await chats_of(store, user)]
        expect_equal(listed, mine, f"the chats of {user.name}")


async def openings_and_messages_make_a_chat_the_first(store: ChatStoreWithUsers) -> None:
    """chats_of lists the most recently active chat first, for both users: the one last opened
    or written in, by either side."""
    hub = await add_user(store, "hub")
    peers = [await add_user(store, name) for name in ("ann", "bob", "eve")]
    chats: list[Chat] = []
    for peer in peers:
        chats.insert(0, await store.open_chat(peer.id, hub.id, NOW_US))
        listed = [summary.chat for summary in await chats_of(store, hub)]
        expect_equal(listed, chats, "the chat opened last is the first")
    ann, bob, eve = reversed(chats)
    for chat, sender, wanted in (
        (ann, hub, [ann, eve, bob]),
        (bob, peers[1], [bob, ann, eve]),
        (bob, hub, [bob, ann, eve]),
        (eve, peers[2], [eve, bob, ann]),
    ):
        await send(store, chat, sender, "hello")
        summaries = await chats_of(store, hub)
        expect_equal([it.chat for it in summaries], wanted, "the chat written in last is the first")
        activities = [summary.activity for summary in summaries]
        expect_equal(activities, sorted({*activities}, reverse=True), "activities tell the order")
        expect(activities[-1] > 0, "activities are positive")


async def summaries_tell_the_newest_number(store: ChatStoreWithUsers) -> None:
    """A summary has the number of the chat's newest message, 0 without messages."""
    chat, ann, bob = await ann_and_bob(store)
    for count, sender in enumerate((ann, bob, bob, None)):
        for user in (ann, bob):
            seqs = [summary.last_seq for summary in await chats_of(store, user)]
            expect_equal(seqs, [count], "a summary has the newest number")
        if sender:
            await send(store, chat, sender, "hello")


async def pages_of_chats_are_exclusive(store: ChatStoreWithUsers) -> None:
    """chats_of returns up to `limit` chats, with `before` those of a smaller activity alone;
    page after page shows every chat once."""
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
            expect_equal(page, wanted, f"{limit} chats after the first {start}")


async def simultaneous_openings_are_each_listed_once(store: ChatStoreWithUsers) -> None:
    """No two chats of a user have the same activity, also when they are opened and written in
    at the same time: a page could skip one of them."""
    hub = await add_user(store, "hub")
    peers = [await add_user(store, f"peer {n}") for n in range(24)]
    opened = await simultaneously(store.open_chat(hub.id, peer.id, NOW_US) for peer in peers[:12])
    chats = [chat for chat in opened if isinstance(chat, Chat)]
    await simultaneously(
        [send(store, chat, hub, "hello") for chat in chats]
        + [store.open_chat(hub.id, peer.id, NOW_US) for peer in peers[12:]]
    )
    summaries = await chats_of(store, hub)
    expect_equal(len({summary.chat.id for summary in summaries}), 24, "every chat is listed")
    expect_equal(len({summary.activity for summary in summaries}), 24, "activities differ")


CHAT_CHECKS = (
    a_chat_is_alike_from_both_sides,
    a_pair_has_one_chat,
    of_simultaneous_openings_one_succeeds,
    a_chat_with_oneself_is_refused,
    a_chat_with_an_unknown_user_is_refused,
    unknown_chats_are_none,
    users_see_their_own_chats_alone,
    openings_and_messages_make_a_chat_the_first,
    summaries_tell_the_newest_number,
    pages_of_chats_are_exclusive,
    simultaneous_openings_are_each_listed_once,
)
