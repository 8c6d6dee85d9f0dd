"""A host's own users: added, renamed and erased without accounts."""

from collections.abc import Sequence
from typing import Any

import pytest

from chatcore import (
    Accounts,
    ChatNotFound,
    InvalidHandle,
    InvalidName,
    Messenger,
    NameTaken,
    StoreUnavailable,
    User,
    UserErased,
    UserName,
    UserNotFound,
)
from chatcore.handles import Person
from chatcore.model import user_of
from chatcore.ports import Put
from chatcore_memory import InsecureTestHasher, InsecureTestTokens, MemoryStore
from tests.support.apps import in_another_process
from tests.support.people import PeopleStore

PASSWORD = "correct horse battery"


class CountingStore(PeopleStore):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    async def user_by_name(self, canonical: str) -> User | None:
        self.calls.append("user_by_name")
        return await super().user_by_name(canonical)

    async def users_by_name(self, keys: Sequence[str]) -> Sequence[User]:
        self.calls.append("users_by_name")
        return [self.contents.users[self.contents.ids_by_name[key]] for key in keys
                if key in self.contents.ids_by_name]  # fmt: skip

    async def put_users(self, people: Sequence[Person], put_us: int) -> Sequence[Put]:
        self.calls.append(f"put_users of {len(people)}")
        return await super().put_users(people, put_us)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def shop(store: MemoryStore) -> Messenger:
    return Messenger(store, realm="shop")


async def test_host_users_chat_without_accounts() -> None:
    shop = Messenger(PeopleStore(), realm="shop")
    ann, bob = await shop.user("1", name="Ann"), await shop.user("2", name="Ann")
    assert ann == User(ann.id, "1", "Ann", "shop")
    assert ann.id != bob.id
    chat = await shop.open_chat(ann, bob)
    await shop.send(ann, chat, "hello")
    [message] = (await shop.page(bob, await shop.chat_with(bob, "1"))).messages
    assert (message.text, message.sender_id) == ("hello", ann.id)
    assert await shop.find_user("2") == bob
    assert (await shop.ensure_chat(bob, ann)).chat == chat


async def test_upsert_without_a_change_costs_one_read() -> None:
    store = CountingStore()
    shop = Messenger(store, realm="shop")
    ann = await shop.user("1", name="Ann")
    store.calls.clear()
    assert await shop.user("1", name="Ann") == ann
    assert store.calls == ["user_by_name"]


async def test_rename_shows_at_once(shop: Messenger) -> None:
    ann, bob = await shop.user("1", name="Ann"), await shop.user("2", name="Bob")
    chat = await shop.open_chat(ann, bob)
    # Both lookups are cached.
    assert await shop.chat(ann, chat.id) == await shop.chat_with(ann, "2") == chat
    robert = await shop.user("2", name="Robert")
    assert robert == bob._replace(name="Robert")
    for found in (await shop.chat(ann, chat.id), await shop.chat_with(ann, "2")):
        assert found.peer_of(ann) == robert
    assert (await shop.list_chats(ann))[0].chat.peer_of(ann) == robert


async def test_rename_in_another_process_shows_within_a_minute(
    store: MemoryStore, shop: Messenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("chatcore.chat_cache.elapsed", lambda: now)
    elsewhere = Messenger(in_another_process(store), realm="shop")
    ann, bob = await shop.user("1", name="Ann"), await shop.user("2", name="Bob")
    chat = await shop.open_chat(ann, bob)
    assert (await elsewhere.chat(ann, chat.id)).peer_of(ann) == bob
    robert = await shop.user("2", name="Robert")
    now = 60.0
    assert (await elsewhere.chat(ann, chat.id)).peer_of(ann) == robert
    assert await elsewhere.user("2", name="Robert") == robert


async def test_rename_of_unknown_outcome_is_announced(
    store: MemoryStore, shop: Messenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await shop.user("1", name="Ann"), await shop.user("2", name="Bob")
    chat = await shop.open_chat(ann, bob)
    await shop.chat(ann, chat.id)
    put_users = store.put_users

    async def unanswered(*args: Any) -> Any:
        await put_users(*args)
        raise StoreUnavailable

    monkeypatch.setattr(store, "put_users", unanswered)
    with pytest.raises(StoreUnavailable):
        await shop.user("2", name="Robert")
    assert (await shop.chat(ann, chat.id)).peer_of(ann).name == "Robert"


async def test_rename_of_a_user_added_since_the_lookup_is_announced(
    store: MemoryStore, shop: Messenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await shop.user("1", name="Ann"), await shop.user("2", name="Bob")
    chat = await shop.open_chat(ann, bob)
    await shop.chat(ann, chat.id)

    async def nobody(_key: str) -> None:
        return None

    # As if another caller had added the user, and opened the chat, after this lookup.
    with monkeypatch.context() as patched:
        patched.setattr(store, "user_by_name", nobody)
        await shop.user("2", name="Robert")
    assert (await shop.chat(ann, chat.id)).peer_of(ann).name == "Robert"


async def test_renames_reach_only_subscribers_to_renames(
    store: MemoryStore, shop: Messenger
) -> None:
    class Listener:
        def __init__(self) -> None:
            self.heard: list[int] = []

        def hear(self, user_id: int) -> None:
            self.heard.append(user_id)

    accounts = Accounts(store, InsecureTestHasher(), InsecureTestTokens(b"secret"))
    names, tokens = Listener(), Listener()
    accounts.changes.subscribe(names.hear)
    accounts.changes.subscribe(tokens.hear, renames=False)
    ann = await shop.user("1", name="Ann")
    assert (names.heard, tokens.heard) == ([], [])
    await shop.user("1", name="Anna")
    assert (names.heard, tokens.heard) == ([ann.id], [])
    await shop.erase(ann)
    assert (names.heard, tokens.heard) == ([ann.id, ann.id], [ann.id])


async def test_bulk_upsert_is_read_and_written_in_pieces() -> None:
    store = CountingStore()
    shop = Messenger(store, realm="shop")
    await shop.user("3", name="user 3")
    store.calls.clear()
    names = {f"{n}": f"user {n}" for n in range(1001, 0, -1)}
    users = await shop.users(names)
    assert {handle: user.name for handle, user in users.items()} == names
    assert [*users] == [*names]
    assert store.calls == [
        *("users_by_name", "put_users of 500"),
        *("users_by_name", "put_users of 499"),
        *("users_by_name", "put_users of 1"),
    ]
    store.calls.clear()
    assert await shop.users(names) == users
    assert store.calls == ["users_by_name"] * 3
    assert await shop.users(names | {"7": "Seven"}) == users | {
        "7": users["7"]._replace(name="Seven")
    }
    assert await shop.users({}) == {}


@pytest.mark.parametrize(
    ("handle", "name", "says"),
    [
        (17, "Ann", r"a handle is text, not int: str\(17\)"),
        ("17", None, "a name is text, not None"),
    ],
)
async def test_id_that_is_no_text_says_what_to_write(
    handle: Any, name: Any, says: str, shop: Messenger
) -> None:
    with pytest.raises(TypeError, match=says):
        await shop.user(handle, name=name)
    with pytest.raises(TypeError, match=says):
        await shop.users({handle: name})


async def test_invalid_bulk_upsert_changes_nothing(shop: Messenger) -> None:
    with pytest.raises(InvalidHandle):
        await shop.users({"1": "Ann", "2 ": "Bob"})
    with pytest.raises(UserNotFound):
        await shop.find_user("1")


@pytest.mark.parametrize(
    "handle", ["1", "x" * 128, "ann@example.com", "Ω", "2f1c7a52-5d0e", "a/b", "..", ":x", "😀"]
)
async def test_any_visible_text_is_a_handle(handle: str, shop: Messenger) -> None:
    user = await shop.user(handle, name="Ann")
    assert user.handle == handle
    assert await shop.find_user(handle) == user


@pytest.mark.parametrize(
    "handle",
    [
        *("", " ", "a b", "a\u00a0b", "\u3000", "a\n", "a\0", "a\x1fb", "\x7f", "\u200b"),
        *("\u202e", "\ud800", "\ue000", "\u0378", "\ufeff", "x" * 129),
    ],
)
async def test_invalid_handle_is_refused(handle: str, shop: Messenger) -> None:
    with pytest.raises(InvalidHandle):
        await shop.user(handle, name="Ann")
    with pytest.raises(UserNotFound):
        await shop.find_user(handle)
    ann = await shop.user("ann", name="Ann")
    with pytest.raises(ChatNotFound):
        await shop.chat_with(ann, handle)


@pytest.mark.parametrize("name", ["Ann  Smith", " Ann", "x" * 256, "Ω Latin Ж", "/", "😀", "ann"])
async def test_host_name_need_not_follow_the_rules_of_accounts(name: str, shop: Messenger) -> None:
    assert (await shop.user("1", name=name)).name == name
    assert (await shop.user("2", name=name)).name == name


@pytest.mark.parametrize("name", ["", "x" * 257, "a\0", "a\nb", "\x7f", "\x85", "\ud800"])
async def test_invalid_name_is_refused(name: str, shop: Messenger) -> None:
    with pytest.raises(InvalidName):
        await shop.user("1", name=name)


@pytest.mark.parametrize("realm", ["a b", "a\x1f", "\0", "x" * 257, "\ud800"])
def test_invalid_realm_is_refused(realm: str, store: MemoryStore) -> None:
    with pytest.raises(ValueError, match="a realm has at most 256 visible characters"):
        Messenger(store, realm=realm)


def test_realm_needs_a_store_of_people() -> None:
    class OldStore(MemoryStore):
        put_users: Any = None

    Messenger(OldStore())
    with pytest.raises(TypeError, match="People"):
        Messenger(OldStore(), realm="shop")


async def test_messenger_without_a_realm_has_no_users_of_its_own(store: MemoryStore) -> None:
    messenger = Messenger(store)
    with pytest.raises(ValueError, match='as in Messenger\\(store, realm="shop"\\)'):
        await messenger.user("1", name="Ann")
    with pytest.raises(ValueError, match="realm"):
        await messenger.users({"1": "Ann"})


async def test_realms_and_accounts_never_meet(store: MemoryStore, shop: Messenger) -> None:
    accounts = Accounts(store, InsecureTestHasher(), InsecureTestTokens(b"secret"))
    messenger, club = Messenger(store), Messenger(store, realm="club")
    account = await accounts.register("Bob", PASSWORD)
    bob, other = await shop.user("bob", name="Bob"), await club.user("bob", name="Bob")
    assert len({account.id, bob.id, other.id}) == 3
    for place, user in ((messenger, account), (shop, bob), (club, other)):
        assert await place.find_user("bob") == user
        assert await messenger.find_user("bob", realm=user.realm) == user
    assert await messenger.find_user("BOB") == account
    with pytest.raises(UserNotFound):
        await shop.find_user("BOB")
    # The key of a host's user is no name.
    for name in (bob.key, "shop\x1fbob"):
        for place in (messenger, shop, club):
            with pytest.raises(UserNotFound):
                await place.find_user(name)
    ann = await shop.user("ann", name="Ann")
    chat = await shop.open_chat(ann, bob)
    assert await shop.chat_with(ann, "bob") == chat
    # Within the caller's realm, whichever Messenger is asked.
    assert await messenger.chat_with(ann, "bob") == chat
    for user, handle in ((account, "ann"), (account, ann.key), (other, "ann")):
        with pytest.raises(ChatNotFound):
            await shop.chat_with(user, handle)


async def test_host_erases_its_users_without_a_password(shop: Messenger) -> None:
    ann, bob = await shop.user("1", name="Ann"), await shop.user("2", name="Bob")
    chat = await shop.open_chat(ann, bob)
    await shop.send(bob, chat, "hello")
    await shop.chat(ann, chat.id)
    erased = await shop.erase(bob)
    assert erased.name.startswith("deleted user ")
    assert (erased.id, erased.handle, erased.realm) == (bob.id, erased.name, "shop")
    assert (await shop.chat(ann, chat.id)).peer_of(ann) == erased
    assert await shop.find_user(erased.handle) == erased
    assert len((await shop.page(ann, chat)).messages) == 1
    with pytest.raises(ChatNotFound):
        await shop.send(ann, chat, "still there?")
    for name in ("Bob", "Robert"):
        with pytest.raises(UserErased):
            await shop.user("2", name=name)
    with pytest.raises(UserErased):
        await shop.users({"3": "Eve", "2": "Bob"})
    with pytest.raises(UserNotFound):
        await shop.find_user("3")
    with pytest.raises(UserNotFound):
        await shop.erase(bob)


async def test_host_erases_no_account_and_no_user_of_another_realm(
    store: MemoryStore, shop: Messenger
) -> None:
    accounts = Accounts(store, InsecureTestHasher(), InsecureTestTokens(b"secret"))
    account = await accounts.register("bob", PASSWORD)
    other = await Messenger(store, realm="club").user("bob", name="Bob")
    for messenger in (shop, Messenger(store)):
        for user in (account, account._replace(realm="shop"), other):
            with pytest.raises(ValueError, match="not a user of this realm"):
                await messenger.erase(user)
    with pytest.raises(UserNotFound):
        await shop.erase(User(99, "99", "nobody", "shop"))
    assert await accounts.log_in("bob", PASSWORD)
    assert await store.user_by_id(other.id) == other


async def test_taken_tombstone_is_drawn_again(
    store: MemoryStore, shop: Messenger, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(["aaaaaaaa", "aaaaaaaa", "bbbbbbbb"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(drawn))
    users = [await shop.user(f"{n}", name="Ann") for n in range(2)]
    names = [(await shop.erase(user)).name for user in users]
    assert names == ["deleted user aaaaaaaa", "deleted user bbbbbbbb"]
    # An account of that name is of another realm.
    with pytest.raises(NameTaken):
        await store.erase_user(
            (await shop.user("3", name="Ann")).id, UserName("deleted user aaaaaaaa"), 0
        )
    await store.add_user(UserName("deleted user aaaaaaaa"), "", 0)


def test_key_and_user_are_inverse() -> None:
    for user in (User(1, "ann", "Ann"), User(2, "ann", "Ann", "shop")):
        assert user_of(user.id, user.key, user.name) == user


async def test_realms_of_one_store_never_meet() -> None:
    store = MemoryStore()
    shop, forum = Messenger(store, realm="shop"), Messenger(store, realm="forum")
    ann, bob = await shop.user("ann", name="Ann"), await forum.user("bob", name="Bob")
    for refused in (shop.open_chat(ann, bob), shop.ensure_chat(ann, bob), shop.block(ann, bob)):
        with pytest.raises(UserNotFound):
            await refused


async def test_chat_of_an_erased_user_is_not_ensured_by_the_former_handle() -> None:
    messenger = Messenger(MemoryStore(), realm="shop")
    ann, bob = await messenger.user("1", name="Ann"), await messenger.user("2", name="Bob")
    await messenger.open_chat(ann, bob)
    await messenger.erase(bob)
    with pytest.raises(UserNotFound):
        await messenger.ensure_chat(ann, bob)
