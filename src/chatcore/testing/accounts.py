"""The promises of an AccountStore."""

from collections.abc import Awaitable, Callable
from itertools import product

from chatcore.errors import NameTaken
from chatcore.model import MAX_INT64, User
from chatcore.names import UserName
from chatcore.ports import AccountStore, Credentials
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
from chatcore.testing.retiring import RETIRING_CHECKS
from chatcore.testing.scene import NOW_US, UNKNOWN_IDS
from chatcore.testing.sessions import SESSION_CHECKS
from chatcore.testing.voiding import VOIDING_CHECKS

SPELLINGS = tuple("".join(letters) for letters in product(*zip("alice", "ALICE", strict=True)))
"""32 spellings of one name."""

# Each name is a different user, also in a database that ignores accents, collates by language, has
# wildcards in patterns or parses numbers.
DISTINCT_NAMES = (
    *("resume", "résumé", "i", "ı", "o", "ο", "о", "ё", "е", "か", "が"),
    *("a.b", "a_b", "a%b", "a*b", "a b", "ab", "a'b", 'a"b', "a\\b", "a\\\\b"),
    *("1", "01", "1.0", "١", "null", "none", "true", "messages"),
)

TYPED_NAMES = (
    "Ann",
    "ÅSA",
    "A\u030angstro\u0308m",
    "Straße",
    "İstanbul",
    "ＷＩＤＥ",
    "𝔊𝔬𝔱𝔥",
    "❤\ufe0f",
    "名前",
    "Екатерина",
    "o'Neil",
    'A "B" \\ %s',
    "😀" * 64,
)


@check
async def users_are_found_by_name_and_id(store: AccountStore) -> None:
    """user_by_name and user_by_id find an added user."""
    for typed in ("ann", "Bob"):
        name = UserName(typed)
        user = await store.add_user(name, "a hash", NOW_US)
        expect_equal(user, User(user.id, name.canonical, typed), "add_user returns the user")
        expect_equal(await store.user_by_name(name.canonical), user, "user_by_name finds a user")
        expect_equal(await store.user_by_id(user.id), user, "user_by_id finds a user")


@check
async def names_are_kept_as_typed(store: AccountStore) -> None:
    """Every method returns a user's name as typed, not in canonical form."""
    for name in map(UserName, TYPED_NAMES):
        user = await store.add_user(name, "a hash", NOW_US)
        found = await store.credentials(name.canonical)
        readings = {
            "add_user": user,
            "user_by_id": await store.user_by_id(user.id),
            "user_by_name": await store.user_by_name(name.canonical),
            "credentials": found and found.user,
        }
        for call, reading in readings.items():
            expect_equal(reading and reading.name, name.typed, f"{call} returns a name as typed")


@check
async def names_are_compared_exactly(store: AccountStore) -> None:
    """Names with different canonical forms are different users, even if they look alike."""
    users = {}
    for name in map(UserName, DISTINCT_NAMES):
        with accepted(f"add_user of the free name {name.typed!r}"):
            users[name.canonical] = await store.add_user(name, "a hash", NOW_US)
    for canonical, user in users.items():
        expect_equal(
            await store.user_by_name(canonical),
            user,
            "user_by_name finds the user of exactly this name",
        )


@check
async def unknown_users_are_none(store: AccountStore) -> None:
    """user_by_id, user_by_name and credentials return None for an unknown id or name."""
    await store.add_user(UserName("ann"), "a hash", NOW_US)
    for user_id in UNKNOWN_IDS:
        expect_equal(await store.user_by_id(user_id), None, f"user_by_id({user_id})")
    for canonical in ("", "bob", "an", "annn", "an_", "a%", "a*", "' or 1=1 --", "n" * 100_000):
        found = await store.user_by_name(canonical)
        expect_equal(found, None, f"user_by_name({canonical!a:.20})")
        known = await store.credentials(canonical)
        expect_equal(known, None, f"credentials({canonical!a:.20})")


@check
async def user_ids_are_positive_and_distinct(store: AccountStore) -> None:
    """add_user gives each user a different id, a positive integer below 2**63, also in simultaneous
    calls of which some are refused."""
    await store.add_user(UserName("ann"), "a hash", NOW_US)
    names = [name for n in range(16) for name in (f"user {n}", "ann")]
    outcomes = await simultaneously(
        store.add_user(UserName(name), "a hash", NOW_US) for name in names
    )
    users = [user for user in outcomes if isinstance(user, User)]
    expect_equal(
        [user.name for user in users], names[::2], "simultaneous add_user: every free name is added"
    )
    ids = {user.id for user in users}
    expect_equal(len(ids), len(users), "add_user gives every user a different id")
    expect(
        all(type(id_) is int and 0 < id_ <= MAX_INT64 for id_ in ids),
        "add_user gives ids from 1 to 2**63 - 1",
    )


@check
async def a_taken_name_is_refused(store: AccountStore) -> None:
    """add_user raises NameTaken if a user has that canonical name, and changes nothing."""
    ann = await store.add_user(UserName("Ann"), "first", NOW_US)
    for typed in ("Ann", "ann", "ＡＮＮ"):
        with refused(NameTaken, f"add_user of the taken name {typed!r}"):
            await store.add_user(UserName(typed), "second", NOW_US)
    expect_equal(
        await store.credentials("ann"),
        Credentials(ann, "first"),
        "a refused add_user changes nothing",
    )


@check
async def of_simultaneous_registrations_one_succeeds(store: AccountStore) -> None:
    """Of any number of simultaneous add_user calls for one name, exactly one succeeds."""
    outcomes = await simultaneously(
        store.add_user(UserName(typed), f"hash of {typed}", NOW_US) for typed in SPELLINGS
    )
    users = [user for user in outcomes if isinstance(user, User)]
    expect_equal(len(users), 1, "simultaneous add_user of one name: calls that succeed")
    others = [outcome for outcome in outcomes if isinstance(outcome, NameTaken)]
    expect_equal(
        len(others),
        len(SPELLINGS) - 1,
        "simultaneous add_user of one name: calls that raise NameTaken",
    )
    [user] = users
    expect_equal(
        await store.credentials("alice"),
        Credentials(user, f"hash of {user.name}"),
        "simultaneous add_user of one name: the successful call is stored",
    )


@check
async def credentials_are_kept_exactly(store: AccountStore) -> None:
    """credentials returns the user and the exact hash."""
    for name, password_hash in (
        ("ann", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$" + "aA0+/" * 20),
        ("bob", "Case Matters \\ 'quoted' \"twice\" "),
        ("eve", "h" * 1024),
    ):
        user = await store.add_user(UserName(name), password_hash, NOW_US)
        expect_equal(
            await store.credentials(name),
            Credentials(user, password_hash),
            "credentials returns the exact hash",
        )


@check
async def a_password_hash_is_replaced_only_if_it_is_the_old_one(store: AccountStore) -> None:
    """replace_password_hash stores the new hash if `old` equals the stored one; otherwise, and for
    an unknown user, it does nothing."""
    ann = await store.add_user(UserName("ann"), "first", NOW_US)
    bob = await store.add_user(UserName("bob"), "first", NOW_US)
    steps = (("first", "second", "second"), ("first", "third", "second"), ("", "4", "second"))
    for old, new, kept in steps:
        await store.replace_password_hash(ann.id, old, new)
        found = await store.credentials("ann")
        expect_equal(
            found, Credentials(ann, kept), f"replace_password_hash from {old!r} to {new!r}"
        )
    for unknown_id in UNKNOWN_IDS:
        await store.replace_password_hash(unknown_id, "first", "second")
    expect_equal(
        await store.credentials("bob"),
        Credentials(bob, "first"),
        "replace_password_hash changes no other user's hash",
    )


@check
async def cancelled_registrations_are_whole(store: AccountStore) -> None:
    """A cancelled add_user happens completely or not at all: the user exists, or the name is free.
    Nothing stays locked."""
    async with patience("add_user after a cancelled add_user"):
        for turn, moment in enumerate(MOMENTS):
            names = [UserName(f"{turn}.{n}") for n in range(16)]
            outcomes = await with_cancellations(
                [store.add_user(name, "first", NOW_US) for name in names], moment
            )
            for name, user in zip(names, outcomes, strict=True):
                # Not read before this: the cancelled call may still complete.
                [again] = await simultaneously([store.add_user(name, "again", NOW_US)])
                found = await store.credentials(name.canonical)
                if isinstance(again, User):
                    expect_equal(user, None, "an add_user that returned is stored")
                    expect_equal(
                        found,
                        Credentials(again, "again"),
                        "a name free after a cancelled add_user can be taken",
                    )
                else:
                    first = await store.user_by_name(name.canonical)
                    expect(user in {None, first}, "an add_user that returned is stored")
                    whole = first and Credentials(first, "first")
                    expect(whole is not None, "a name that add_user refuses has a user")
                    expect_equal(found, whole, "a cancelled add_user stores all of the user")


AccountStoreCheck = Callable[[AccountStore], Awaitable[None]]

ACCOUNT_STORE_CHECKS: tuple[AccountStoreCheck, ...] = (
    users_are_found_by_name_and_id,
    names_are_kept_as_typed,
    names_are_compared_exactly,
    unknown_users_are_none,
    user_ids_are_positive_and_distinct,
    a_taken_name_is_refused,
    of_simultaneous_registrations_one_succeeds,
    credentials_are_kept_exactly,
    a_password_hash_is_replaced_only_if_it_is_the_old_one,
    cancelled_registrations_are_whole,
    *VOIDING_CHECKS,
    *RETIRING_CHECKS,
    *SESSION_CHECKS,
)
