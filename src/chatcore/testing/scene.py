"""The set-up of checks: users, a chat of two of them, messages."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, cast

from chatcore.events import Cursor, Entry
from chatcore.handles import Person
from chatcore.model import MAX_INT64, Chat, Message, NewMessage, Sent, User
from chatcore.names import UserName
from chatcore.ports import MAX_PAGE, ChatStore, People
from chatcore.testing.expect import expect

NOW_US = 1_767_225_600_123_456
UNKNOWN_IDS = (MAX_INT64, 10**9, 0, -1)


class ChatStoreWithUsers(ChatStore, Protocol):
    """A ChatStore to which users can be added: by `CredentialStore.add_user`, or else by
    `People.put_users`."""


ChatStoreCheck = Callable[[ChatStoreWithUsers], Awaitable[None]]


class Scene(NamedTuple):
    chat: Chat
    ann: User
    bob: User


async def add_user(store: ChatStoreWithUsers, name: str) -> User:
    """Add a user with an account, or a host's user to a store without accounts."""
    if (add := getattr(store, "add_user", None)) is not None:
        user: User = await add(UserName(name), "a hash", NOW_US)
        return user
    expect(isinstance(store, People), "a store has add_user, or the methods of People")
    [put] = await cast(People, store).put_users(
        [Person("kit", name.lower().replace(" ", "-"), name)], NOW_US
    )
    return put.user


async def ann_and_bob(store: ChatStoreWithUsers) -> Scene:
    ann, bob = await add_user(store, "ann"), await add_user(store, "bob")
    return Scene(await store.open_chat(ann.id, bob.id, NOW_US), ann, bob)


async def send(
    store: ChatStore,
    chat: Chat,
    sender: User,
    text: str,
    key: str | None = None,
    sent_us: int = NOW_US,
) -> Sent:
    return await store.append_message(NewMessage(chat.id, sender.id, text, sent_us, key))


async def read_all(store: ChatStore, chat: Chat) -> list[Message]:
    """Return every message of the chat, read page by page."""
    messages: list[Message] = []
    cursor = 0
    while page := await store.messages_after(chat.id, cursor, limit=MAX_PAGE):
        # Otherwise the loop would never end.
        expect(
            all(it.seq > cursor for it in page), "messages_after returns numbers above the cursor"
        )
        cursor = page[-1].seq
        messages += page
    return messages


async def log_start(store: ChatStore, user: User) -> Cursor:
    """Return the cursor before the first entry of the user's log."""
    return (await store.end_of_log(user.id)).at(0)


async def read_log(store: ChatStore, user: User, after: Cursor | None = None) -> list[Entry]:
    """Return the entries of the user's log, after the cursor if given, read page by page."""
    entries: list[Entry] = []
    cursor = after or await log_start(store, user)
    while page := await store.events_after(cursor, limit=MAX_PAGE):
        ahead = all(it.cursor.n > cursor.n for it in page)
        # Otherwise the loop would never end.
        expect(ahead, "events_after returns numbers above the cursor")
        cursor = page[-1].cursor
        entries += page
    expect(page is not None, f"events_after {cursor}, a valid cursor,")
    return entries


def unmarked(entry: Entry) -> Entry:
    """The entry without the mark of its cursor, which a store chooses."""
    return entry._replace(cursor=entry.cursor.at(entry.cursor.n))


async def mark(store: ChatStore, chat: Chat, user: User, seq: int, moved_us: int = NOW_US) -> int:
    return await store.move_read_marker(chat.id, user.id, seq, moved_us)
