"""The promises of People: users of a host, without accounts."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from chatcore.errors import NameTaken, UserErased, UserNotFound
from chatcore.handles import Person
from chatcore.model import MAX_INT64, User
from chatcore.names import UserName
from chatcore.ports import MAX_PAGE, AccountStore, ChatStore, Credentials, People, Put
from chatcore.testing.expect import (
    MOMENTS,
    accepted,
    check,
    expect,
    expect_equal,
    patience,
    refused,
    simultaneously,
    with_cancellations,
)
from chatcore.testing.scene import NOW_US, UNKNOWN_IDS, mark, read_log, send

SHOP, CLUB = "shop", "https://club.example/"
TOMBSTONE = UserName("Deleted user 1")

# Each handle is a different user, also in a database that ignores case, collates by language,
# normalises, has wildcards in patterns or parses numbers.
HANDLES = (
    *("1", "01", "1.0", "١", "null", "bob", "Bob", "BOB", "ｂｏｂ", "bob@example.com"),
    *("é", "e\u0301", "a_b", "a%b", "a*b", "a'b", 'a"b', "a\\b", "a/b", ":a", "..", "😀" * 128),
    "2f1c7a52-5d0e-4c52-8a3a-0d6f3c1f8f11",
)
NAMES = ("Ann", "Ann  Smith", " Ann ", "Ω-Bob", "a/b", ":", "😀" * 256, "e\u0301", "A 'B' \\ %s")


class PeopleAndChats(People, ChatStore, Protocol):
    """A store of people and their chats."""


class PeopleAndAccounts(People, AccountStore, Protocol):
    """A store of people and of accounts."""


async def put(store: People, handle: str, name: str = "Ann", realm: str = SHOP) -> User:
    [it] = await store.put_users([Person(realm, handle, name)], NOW_US)
    return it.user


async def expect_found(store: People, user: User) -> None:
    """Expect that every lookup finds exactly this user."""
    expect_equal(await store.user_by_name(user.key), user, "user_by_name finds a host's user")
    expect_equal(await store.user_by_id(user.id), user, "user_by_id finds a host's user")
    found = list(await store.users_by_name([user.key]))
    expect_equal(found, [user], "users_by_name finds a host's user")


@check
async def people_are_kept_exactly(store: People) -> None:
    """put_users keeps handle, name and realm exactly, compares handles byte for byte, and gives
    every user a different positive id. Names need not be unique."""
    users: list[User] = []
    for realm in (SHOP, CLUB):
        for number, handle in enumerate(HANDLES):
            with accepted(f"put_users of the new handle {handle!a}"):
                users.append(await put(store, handle, NAMES[number % len(NAMES)], realm))
    for number, user in enumerate(users):
        realm, handle = (SHOP, CLUB)[number // len(HANDLES)], HANDLES[number % len(HANDLES)]
        name = NAMES[number % len(HANDLES) % len(NAMES)]
        wanted = User(user.id, handle, name, realm)
        expect_equal(user, wanted, "put_users returns the user as given")
        await expect_found(store, user)
    ids = {user.id for user in users}
    expect_equal(len(ids), len(users), "put_users gives every user a different id")
    expect(all(0 < it <= MAX_INT64 for it in ids), "put_users gives ids from 1 to 2**63 - 1")


@check
async def realms_are_apart(store: People) -> None:
    """put_users, user_by_name and users_by_name reach no user of another realm."""
    ann = await put(store, "7", "Ann")
    others = []
    for realm, handle in ((CLUB, "7"), ("sho", "p7"), ("shop7", "7"), ("7", "shop")):
        other = await put(store, handle, f"of {realm}", realm)
        expect(other.id != ann.id, "put_users in another realm adds another user")
        await expect_found(store, other)
        others.append(other)
    await expect_found(store, ann)
    renamed = await put(store, "7", "Anna")
    for user in (renamed, *others):
        await expect_found(store, user)
    for key in ("7", "shop", "shop7", f"{ann.key} ", ann.key.upper(), "nobody", ""):
        expect_equal(await store.user_by_name(key), None, f"user_by_name({key!a})")
        expect_equal(list(await store.users_by_name([key])), [], f"users_by_name([{key!a}])")


@check
async def an_upsert_is_idempotent(store: People) -> None:
    """put_users of a known handle and name returns the same user and changes nothing; with another
    name it renames that user alone, who keeps the id."""
    bob = await put(store, "bob", "Ann")
    people = [Person(SHOP, "ann", "Ann")]
    [first] = await store.put_users(people, NOW_US)
    expect_equal(first.renamed, False, "put_users of a new handle: renamed")
    for _ in range(2):
        [again] = await store.put_users(people, NOW_US + 1)
        expect_equal(again, first, "put_users of a known handle and name")
    for name in ("Anna", "Ann", "ann"):
        [renamed] = await store.put_users([Person(SHOP, "ann", name)], NOW_US + 2)
        wanted = Put(first.user._replace(name=name), renamed=True)
        expect_equal(renamed, wanted, "put_users of a known handle and another name")
        await expect_found(store, renamed.user)
    await expect_found(store, bob)


@check
async def a_piece_is_put_in_one_step(store: People) -> None:
    """put_users takes up to MAX_PAGE people, new and known ones, and returns them in their order;
    users_by_name finds all of them and leaves out unknown keys."""
    known = [await put(store, f"{number}", f"user {number}") for number in range(0, 30, 3)]
    numbers = [number * 7 % MAX_PAGE for number in range(MAX_PAGE)]
    people = [Person(SHOP, f"{n}", f"user {n + n % 2}") for n in numbers]
    puts = list(await store.put_users(people, NOW_US))
    expect_equal(
        [(it.user.realm, it.user.handle, it.user.name) for it in puts],
        [(it.realm, it.handle, it.name) for it in people],
        "put_users returns the users in the order of the people",
    )
    kept = {user.handle: user.id for user in known}
    users = {it.user.handle: it.user for it in puts}
    expect_equal({it: users[it].id for it in kept}, kept, "put_users keeps the ids of known users")
    expect_equal(len({it.id for it in users.values()}), MAX_PAGE, "put_users: different ids")
    renamed = {it.user.handle for it in puts if it.renamed}
    expect_equal(renamed, {it for it in kept if int(it) % 2}, "put_users: the users it renamed")
    keys = [f"{puts[0].user.key}0000", *(it.user.key for it in puts[1:])]
    found = sorted(await store.users_by_name(keys))
    expect_equal(found, sorted(it.user for it in puts[1:]), "users_by_name of many keys")


@check
async def simultaneous_upserts_give_one_user(store: People) -> None:
    """Of any number of simultaneous put_users calls for one handle, all give one user, whose name
    is then that of one of them."""
    for turn in range(4):
        people = [Person(SHOP, f"{turn}", f"name {n % (turn + 1)}") for n in range(24)]
        outcomes = await simultaneously(store.put_users([it], NOW_US) for it in people)
        puts = [it for outcome in outcomes if not isinstance(outcome, Exception) for it in outcome]
        expect_equal(len(puts), 24, "simultaneous put_users of one handle: calls that succeed")
        ids = {it.user.id for it in puts}
        expect_equal(len(ids), 1, "simultaneous put_users of one handle: users")
        names = [it.user.name for it in puts]
        expect_equal(names, [it.name for it in people], "simultaneous put_users: their names")
        user = await store.user_by_id(ids.pop())
        expect(user is not None and user.name in names, "simultaneous put_users: the name")
    # Pieces that overlap, in opposite orders.
    pieces = [[Person(SHOP, f"both {n}".replace(" ", ""), f"{turn}") for n in range(20)][::step]
              for turn, step in enumerate((1, -1) * 4)]  # fmt: skip
    results = await simultaneously(store.put_users(piece, NOW_US) for piece in pieces)
    users = [it.user for result in results if not isinstance(result, Exception) for it in result]
    expect_equal(len(users), 160, "simultaneous put_users of overlapping pieces: results")
    expect_equal(len({it.id for it in users}), 20, "put_users of overlapping pieces: users")


@check
async def an_erased_handle_stays_retired(store: People) -> None:
    """erase_user gives a host's user the tombstone's handle and name, within its realm. put_users
    then raises UserErased for the former handle, adds and renames nobody, and the handle stays free
    in other realms."""
    ann, bob = await put(store, "ann"), await put(store, "bob")
    await store.erase_user(ann.id, TOMBSTONE, NOW_US)
    erased = User(ann.id, TOMBSTONE.canonical, TOMBSTONE.typed, SHOP)
    await expect_found(store, erased)
    expect_equal(await store.user_by_name(ann.key), None, "user_by_name of an erased handle")
    for people in (
        [Person(SHOP, "ann", "Ann")],
        [Person(SHOP, "eve", "Eve"), Person(SHOP, "bob", "Bob"), Person(SHOP, "ann", "Anna")],
    ):
        with refused(UserErased, "put_users with an erased handle"):
            await store.put_users(people, NOW_US)
    await expect_found(store, bob)
    eve = await store.user_by_name(bob._replace(handle="eve").key)
    expect_equal(eve, None, "a refused put_users adds nobody")
    for user_id in (ann.id, *UNKNOWN_IDS):
        with refused(UserNotFound, f"erase_user({user_id}), erased or unknown,"):
            await store.erase_user(user_id, UserName("deleted again"), NOW_US)
    with refused(NameTaken, "erase_user with a taken tombstone"):
        await store.erase_user(bob.id, TOMBSTONE, NOW_US)
    other = await put(store, "ann", "Ann", CLUB)
    with accepted("erase_user with a tombstone of another realm"):
        await store.erase_user(other.id, TOMBSTONE, NOW_US)


@check
async def simultaneous_upserts_and_erasures_agree(store: People) -> None:
    """A put_users beside the erasure of its user returns that user or raises UserErased; after the
    erasure, it raises UserErased."""
    for turn in range(6):
        user = await put(store, f"{turn}", "Ann")
        people = [Person(SHOP, f"{turn}", f"name {n % 2}") for n in range(12)]
        calls = [_put_id(store, [it]) for it in people]
        calls.insert(turn * 2, _erased(store, user, UserName(f"deleted {turn}")))
        outcomes = await simultaneously(calls)
        given = {it for it in outcomes if not isinstance(it, UserErased)}
        expect_equal(given, {user.id}, "put_users beside an erasure gives no other user")
        with refused(UserErased, "put_users after an erasure"):
            await store.put_users(people[:1], NOW_US)
        name = f"deleted {turn}"
        await expect_found(store, User(user.id, name, name, SHOP))


async def _put_id(store: People, people: Sequence[Person]) -> int:
    [it] = await store.put_users(people, NOW_US)
    return it.user.id


async def _erased(store: People, user: User, tombstone: UserName) -> int:
    await store.erase_user(user.id, tombstone, NOW_US)
    return user.id


@check
async def a_cancelled_upsert_is_whole(store: People) -> None:
    """A cancelled put_users adds and renames all of its people or none. Nothing stays locked."""
    async with patience("put_users after a cancelled put_users"):
        for turn, moment in enumerate(MOMENTS):
            pieces = [
                [Person(SHOP, f"{turn}.{piece}.{n}", "first") for n in range(3)]
                for piece in range(12)
            ]
            outcomes = await with_cancellations(
                [store.put_users(people, NOW_US) for people in pieces], moment
            )
            for people, outcome in zip(pieces, outcomes, strict=True):
                # Not read before this: the cancelled call may still complete.
                again = [Person(SHOP, it.handle, "again") for it in people]
                puts = await store.put_users(again, NOW_US)
                known = {it.renamed for it in puts}
                expect_equal(len(known), 1, "a cancelled put_users: people it added, all or none")
                if outcome is not None:
                    expect_equal(known, {True}, "a put_users that returned is stored")


@check
async def a_rename_shows_everywhere(store: PeopleAndChats) -> None:
    """After put_users has returned, earlier chats, lists, events and blocks show the new name.
    Nothing else changes."""
    ann, bob, eve = [await put(store, handle, "Ann") for handle in ("ann", "bob", "eve")]
    chat = await store.open_chat(ann.id, bob.id, NOW_US)
    other = await store.open_chat(eve.id, ann.id, NOW_US)
    for place, sender in ((chat, bob), (chat, ann), (other, eve), (chat, bob)):
        await send(store, place, sender, "hello")
    await mark(store, chat, bob, 2)
    await mark(store, chat, ann, 1)
    await store.block(eve.id, bob.id, NOW_US)

    async def seen_by(user: User) -> list[object]:
        seen: list[object] = [await store.chat_by_id(chat.id), await read_log(store, user)]
        seen += [await store.chat_with(ann.id, bob.key), await store.chat_with(bob.id, ann.key)]
        for limit in (1, 2, MAX_PAGE):
            seen += await store.chats_of(user.id, before=None, limit=limit)
            seen += await store.chat_states(user.id, before=None, limit=limit)
        seen += [await store.chat_state(user.id, chat.id)]
        return [*seen, *await store.blocked_by(user.id, after=0, limit=MAX_PAGE)]

    for name in ("Bob", "Боб", "Bob"):
        before = {user: await seen_by(user) for user in (ann, bob, eve)}
        renamed = await put(store, "bob", name)
        for user, seen in before.items():
            wanted = repr(seen).replace(repr(bob), repr(renamed))
            after = repr(await seen_by(user))
            expect_equal(after, wanted, "put_users with another name changes nothing else")
        bob = renamed


@check
async def an_upsert_never_reaches_an_account(store: PeopleAndAccounts) -> None:
    """put_users with the name of an account as handle adds another user. A host's user has no
    credentials."""
    account = await store.add_user(UserName("bob"), "hash of bob", NOW_US)
    user = await put(store, "bob", "Bob")
    expect(user.id != account.id, "put_users of the handle of an account adds another user")
    await store.put_users([Person(SHOP, "bob", "Robert")], NOW_US)
    expect_equal(await store.user_by_name("bob"), account, "user_by_name of the account")
    wanted = Credentials(account, "hash of bob")
    expect_equal(await store.credentials("bob"), wanted, "put_users changes no credentials")
    expect_equal(await store.credentials(user.key), None, "credentials of a host's user")
    for old in ("", "hash of bob"):
        await store.replace_password_hash(user.id, old, "new")
    with refused(UserNotFound, "void_tokens of a host's user"):
        await store.void_tokens(user.id, NOW_US)
    found = await store.credentials_by_id(user.id)
    expect_equal(found, None, "credentials_by_id of a host's user")
    await put(store, "eve", "Eve")
    with accepted("add_user with the handle of a host's user"):
        await store.add_user(UserName("eve"), "hash", NOW_US)
    await store.erase_user(account.id, UserName("deleted user 1"), NOW_US)
    with accepted("put_users with the name of an erased account as handle"):
        await put(store, "bob", "Bob")


PeopleCheck = Callable[[People], Awaitable[None]]
RenamingCheck = Callable[[PeopleAndChats], Awaitable[None]]
RealmCheck = Callable[[PeopleAndAccounts], Awaitable[None]]

PEOPLE_CHECKS: tuple[PeopleCheck, ...] = (
    people_are_kept_exactly,
    realms_are_apart,
    an_upsert_is_idempotent,
    a_piece_is_put_in_one_step,
    simultaneous_upserts_give_one_user,
    an_erased_handle_stays_retired,
    simultaneous_upserts_and_erasures_agree,
    a_cancelled_upsert_is_whole,
)
RENAMING_CHECKS: tuple[RenamingCheck, ...] = (a_rename_shows_everywhere,)
REALM_CHECKS: tuple[RealmCheck, ...] = (an_upsert_never_reaches_an_account,)
