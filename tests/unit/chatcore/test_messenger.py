"""Opening and finding chats, sending and reading messages."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from chatcore import (
    Chat,
    ChatExists,
    ChatNotFound,
    ChatSummary,
    InvalidKey,
    InvalidPage,
    InvalidSeq,
    InvalidText,
    KeyReused,
    Message,
    MessageNotFound,
    Messenger,
    NewMessage,
    Opened,
    Page,
    SelfChat,
    Sent,
    User,
    UserName,
    UserNotFound,
)
from chatcore_memory import MemoryStore
from tests.support.chats import open_chats

NOW = datetime(2026, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)
NOW_US = 1_767_225_600_123_456
BEYOND = 2**63 - 1
NOBODY = ["nobody", "", "an", "\0", "ann\0", "\ud800", "\u3164", "x" * 100_000]


@pytest.fixture
def messenger(store: MemoryStore) -> Messenger:
    return Messenger(store, clock=lambda: NOW)


async def fill(store: MemoryStore, chat: Chat, count: int) -> None:
    for n in range(count):
        await store.append_message(NewMessage(chat.id, chat.users[n % 2].id, f"{n}", NOW_US))


async def test_users_are_found_by_any_spelling_of_their_name(
    messenger: Messenger, ann: User
) -> None:
    for name in ("Ann", "ann", "ＡＮＮ"):
        assert await messenger.find_user(name) == ann
    for name in NOBODY:
        with pytest.raises(UserNotFound):
            await messenger.find_user(name)


async def test_chat_is_opened_once_between_two_existing_users(
    messenger: Messenger, ann: User, bob: User
) -> None:
    chat = await messenger.open_chat(bob, ann)
    assert chat.users == (ann, bob)
    for user, peer in ((ann, bob), (bob, ann)):
        with pytest.raises(ChatExists):
            await messenger.open_chat(user, peer)
    with pytest.raises(SelfChat):
        await messenger.open_chat(ann, ann)
    with pytest.raises(UserNotFound):
        await messenger.open_chat(ann, User(99, "nobody", "nobody"))


async def test_a_chat_is_found_by_either_peer_in_any_spelling(
    messenger: Messenger, ann: User, bob: User, eve: User, chat: Chat
) -> None:
    assert await messenger.chat_with(ann, "BOB") == chat
    assert await messenger.chat_with(bob, "ann") == chat
    for user, name in ((ann, "ann"), (ann, "eve"), (eve, "ann"), *((ann, it) for it in NOBODY)):
        with pytest.raises(ChatNotFound):
            await messenger.chat_with(user, name)


async def test_ensure_chat_is_idempotent_from_both_sides(
    messenger: Messenger, ann: User, bob: User
) -> None:
    opened = await messenger.ensure_chat(bob, ann)
    assert opened == Opened(Chat(opened.chat.id, (ann, bob)), created=True)
    for user, peer in ((ann, bob), (bob, ann)):
        assert await messenger.ensure_chat(user, peer) == Opened(opened.chat, created=False)
    with pytest.raises(SelfChat):
        await messenger.ensure_chat(ann, ann)
    with pytest.raises(UserNotFound):
        await messenger.ensure_chat(ann, User(99, "nobody", "nobody"))


async def test_a_chat_is_found_by_its_id(
    messenger: Messenger, ann: User, bob: User, eve: User, chat: Chat
) -> None:
    for user in (ann, bob, ann):
        assert await messenger.chat(user, chat.id) == chat
        assert (await messenger.state(user, chat.id)).chat == chat
    for chat_id in (chat.id + 1, 0, -1, 2**63 - 1, 2**63, 2**70, -(2**70)):
        with pytest.raises(ChatNotFound):
            await messenger.chat(ann, chat_id)
        with pytest.raises(ChatNotFound):
            await messenger.state(ann, chat_id)
    for _ in range(2):
        with pytest.raises(ChatNotFound):
            await messenger.chat(eve, chat.id)
        with pytest.raises(ChatNotFound):
            await messenger.state(eve, chat.id)


async def test_message_is_found_by_its_seq(
    messenger: Messenger, store: MemoryStore, ann: User, eve: User, chat: Chat
) -> None:
    await fill(store, chat, 3)
    found = [await messenger.message(ann, chat, seq) for seq in (1, 2, 3)]
    assert found == list(await store.messages_after(chat.id, 0, limit=10))
    for seq in (4, 2**63 - 1):
        with pytest.raises(MessageNotFound):
            await messenger.message(ann, chat, seq)
    for seq in (0, -1, 2**63, 2**70):
        with pytest.raises(InvalidSeq):
            await messenger.message(ann, chat, seq)
    with pytest.raises(ChatNotFound):
        await messenger.message(eve, chat, 1)


async def test_message_is_sent_at_the_clocks_time(
    messenger: Messenger, ann: User, bob: User, chat: Chat
) -> None:
    first = await messenger.send(ann, chat, " hello\n")
    assert first == Message(chat.id, 1, ann.id, " hello\n", NOW_US)
    assert first.sent_at == NOW
    assert await messenger.send(bob, chat, "hi") == Message(chat.id, 2, bob.id, "hi", NOW_US)


async def test_a_message_with_a_key_is_sent_once(
    messenger: Messenger, ann: User, chat: Chat
) -> None:
    first = await messenger.send_once(ann, chat, "hello", "key")
    assert first == Sent(Message(chat.id, 1, ann.id, "hello", NOW_US), replayed=False)
    assert await messenger.send_once(ann, chat, "hello", "key") == (first.message, True)
    with pytest.raises(KeyReused):
        await messenger.send_once(ann, chat, "other", "key")
    with pytest.raises(InvalidKey):
        await messenger.send_once(ann, chat, "hello", "")
    assert (await messenger.send(ann, chat, "hello")).seq == 2


async def test_an_invalid_text_is_refused(messenger: Messenger, ann: User, chat: Chat) -> None:
    for text in ("", " ", "\0"):
        with pytest.raises(InvalidText):
            await messenger.send(ann, chat, text)
        with pytest.raises(InvalidText):
            await messenger.send_once(ann, chat, text, "key")
    assert await messenger.page(ann, chat) == Page([], older=False, newer=False)


async def test_non_member_does_not_find_the_chat(
    messenger: Messenger, ann: User, eve: User, chat: Chat
) -> None:
    await messenger.send(ann, chat, "hello")
    with pytest.raises(ChatNotFound):
        await messenger.send(eve, chat, "hello")
    with pytest.raises(ChatNotFound):
        await messenger.send_once(eve, chat, "hello", "key")
    with pytest.raises(ChatNotFound):
        await messenger.page(eve, chat)
    with pytest.raises(ChatNotFound):
        await anext(messenger.history(eve, chat))
    assert await messenger.list_chats(eve) == []


def expected(count: int, before: int | None, after: int | None, limit: int) -> tuple[object, ...]:
    """Compute a page of messages 1 to `count` from its definition."""
    seqs = [*range(1, count + 1)]
    if after is not None:
        page = [seq for seq in seqs if seq > after][:limit]
        # An empty page lies at the end.
        first, last = (page[0], page[-1]) if page else (after + 1, after)
    else:
        page = [seq for seq in seqs if before is None or seq < before][-limit:]
        # An empty page lies at the beginning.
        first, last = (page[0], page[-1]) if page else (1, 0)
    return page, any(seq < first for seq in seqs), any(seq > last for seq in seqs)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
async def test_page_reports_whether_more_messages_exist(
    messenger: Messenger, store: MemoryStore, ann: User, chat: Chat, count: int
) -> None:
    await fill(store, chat, count)
    for limit in (1, 2, 4, 5, 6, 500):
        for cursor in (None, *range(count + 3), BEYOND):
            for before, after in ((cursor, None), (None, cursor)):
                page = await messenger.page(ann, chat, before=before, after=after, limit=limit)
                found = [it.seq for it in page.messages], page.older, page.newer
                assert found == expected(count, before, after, limit), (before, after, limit)


@pytest.mark.parametrize("count", [0, 1, 2, 9])
async def test_a_page_around_a_message_begins_half_a_page_before_it(
    messenger: Messenger, store: MemoryStore, ann: User, chat: Chat, count: int
) -> None:
    await fill(store, chat, count)
    for limit in (1, 2, 3, 4, 5, 500):
        for around in (*range(count + 4), BEYOND):
            below = [*range(1, min(around, count + 1))]
            half = below[len(below) - min(limit // 2, len(below)) :]
            wanted = [*half, *range(max(around, 1), count + 1)][:limit]
            page = await messenger.page(ann, chat, around=around, limit=limit)
            assert [it.seq for it in page.messages] == wanted, (around, limit)
            first, last = (wanted[0], wanted[-1]) if wanted else (count + 1, count)
            assert (page.older, page.newer) == (first > 1, last < count), (around, limit)


async def test_page_has_50_messages_by_default(
    messenger: Messenger, store: MemoryStore, ann: User, chat: Chat
) -> None:
    await fill(store, chat, 60)
    page = await messenger.page(ann, chat)
    assert [it.seq for it in page.messages] == [*range(11, 61)]


@pytest.mark.parametrize(
    "arguments",
    [
        *({"limit": 0}, {"limit": -1}, {"limit": 501}, {"limit": 2**70}),
        *({"before": -1}, {"before": 2**63}, {"after": -1}, {"after": 2**63}),
        *({"before": 3, "after": 1}, {"before": 0, "after": 0}),
        *({"around": -1}, {"around": 2**63}, {"around": 1, "limit": 0}),
        *({"around": 1, "after": 1}, {"around": 1, "before": 1}),
    ],
    ids=str,
)
async def test_a_page_out_of_range_is_refused(
    messenger: Messenger, ann: User, chat: Chat, arguments: dict[str, int]
) -> None:
    with pytest.raises(InvalidPage):
        await messenger.page(
            ann,
            chat,
            before=arguments.get("before"),
            after=arguments.get("after"),
            around=arguments.get("around"),
            limit=arguments.get("limit", 50),
        )


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (0, []),
        (1, [1]),
        (499, [499]),
        (500, [500]),
        (501, [500, 1]),
        (1000, [500, 500]),
        (1001, [500, 500, 1]),
    ],
)
async def test_history_is_complete_and_comes_in_pieces(
    messenger: Messenger, store: MemoryStore, ann: User, chat: Chat, count: int, sizes: list[int]
) -> None:
    await fill(store, chat, count)
    pieces = [piece async for piece in messenger.history(ann, chat)]
    assert [len(piece) for piece in pieces] == sizes
    assert [it.seq for piece in pieces for it in piece] == [*range(1, count + 1)]


@pytest.mark.parametrize("count", [1, 499, 500, 501, 1000, 1001])
async def test_a_history_ends_with_the_newest_message_at_its_start(
    messenger: Messenger, store: MemoryStore, ann: User, chat: Chat, count: int
) -> None:
    await fill(store, chat, count)
    read = []
    async for piece in messenger.history(ann, chat):
        read += [it.seq for it in piece]
        await fill(store, chat, 600)
    assert read == [*range(1, count + 1)]


class BusyStore(MemoryStore):
    """After each page of chats, the chats of the next item of `moves` become active."""

    def __init__(self) -> None:
        super().__init__()
        self.moves: list[list[Chat]] = []

    async def chats_of(
        self, user_id: int, *, before: int | None, limit: int
    ) -> Sequence[ChatSummary]:
        page = await super().chats_of(user_id, before=before, limit=limit)
        for chat in self.moves.pop(0) if self.moves else ():
            await fill(self, chat, 1)
        return page


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1000, 1001])
async def test_chats_are_listed_most_recently_active_first(
    messenger: Messenger, store: MemoryStore, ann: User, count: int
) -> None:
    chats = await open_chats(store, ann, count)
    for chat in chats[:1]:
        await messenger.send(ann, chat, "hello")
    listed = await messenger.list_chats(ann)
    assert [summary.chat for summary in listed] == chats[:1] + chats[:0:-1]
    assert [summary.last_seq for summary in listed] == [1, *[0] * (count - 1)][:count]


@pytest.mark.parametrize(
    "moves",
    [
        [slice(1)],
        [slice(600)],
        [slice(1200)] * 3,
        # While the 600 moved chats are read again, a chat on none of those pages moves.
        [slice(600), slice(0), slice(50, 51)],
        [slice(600), slice(0), slice(600), slice(0), slice(50, 51)],
    ],
    ids=str,
)
async def test_chats_that_become_active_between_pages_are_listed_once(
    moves: list[slice],
) -> None:
    store = BusyStore()
    ann = await store.add_user(UserName("Ann"), "", 0)
    chats = await open_chats(store, ann, 1200)
    store.moves = [chats[move] for move in moves]
    listed = await Messenger(store).list_chats(ann)
    assert store.moves == []
    assert sorted(summary.chat.id for summary in listed) == [chat.id for chat in chats]
    activities = [summary.activity for summary in listed]
    assert activities == sorted(activities, reverse=True)
