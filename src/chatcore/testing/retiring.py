"""The promises of an AccountStore about erased users."""

from chatcore.errors import NameTaken, UserNotFound
from chatcore.model import User
from chatcore.names import UserName
from chatcore.ports import AccountStore, Credentials
from chatcore.testing.expect import accepted, check, expect, expect_equal, refused, simultaneously
from chatcore.testing.scene import NOW_US, UNKNOWN_IDS

TOMBSTONE = UserName("Deleted user 1")


@check
async def an_erased_user_gets_the_tombstone_name(store: AccountStore) -> None:
    """erase_user gives the user the tombstone's name, as typed, and deletes the credentials."""
    ann = await store.add_user(UserName("Ann"), "hash of ann", NOW_US)
    bob = await store.add_user(UserName("Bob"), "hash of bob", NOW_US)
    await store.erase_user(ann.id, TOMBSTONE, NOW_US)
    erased = User(ann.id, TOMBSTONE.canonical, TOMBSTONE.typed)
    expect_equal(await store.user_by_id(ann.id), erased, "user_by_id of an erased user")
    found = await store.user_by_name(TOMBSTONE.canonical)
    expect_equal(found, erased, "user_by_name of the tombstone")
    expect_equal(await store.user_by_name("ann"), None, "user_by_name of the former name")
    for name in ("ann", TOMBSTONE.canonical):
        expect_equal(
            await store.credentials(name), None, f"credentials({name!r}) of an erased user"
        )
    expect_equal(await store.credentials_by_id(ann.id), None, "credentials_by_id of an erased user")
    expect_equal(
        await store.credentials("bob"),
        Credentials(bob, "hash of bob"),
        "erase_user changes no other",
    )


@check
async def a_name_is_never_given_again(store: AccountStore) -> None:
    """add_user raises NameTaken for the former name of an erased user, in every spelling, and for a
    tombstone's name; it never gives an id twice."""
    users = [await store.add_user(UserName(name), "a hash", NOW_US) for name in ("Åsa", "bob")]
    for user in reversed(users):
        await store.erase_user(user.id, UserName(f"deleted {user.id}"), NOW_US)
    names = ("åsa", "ÅSA", "A\u030asa", "\u212bsa", "bob", "ＢＯＢ")
    for name in (*names, *(f"Deleted {user.id}" for user in users)):
        with refused(NameTaken, f"add_user of the former name {name!a}"):
            await store.add_user(UserName(name), "another hash", NOW_US)
    eve = await store.add_user(UserName("eve"), "a hash", NOW_US)
    expect(eve.id not in {user.id for user in users}, "add_user never gives an id twice")
    for name in ("bobb", "bo", "asa"):
        with accepted(f"add_user of the free name {name!r}"):
            await store.add_user(UserName(name), "a hash", NOW_US)


@check
async def an_erased_user_has_no_account(store: AccountStore) -> None:
    """erase_user and void_tokens raise UserNotFound for an erased or unknown user, and
    replace_password_hash does nothing."""
    ann = await store.add_user(UserName("ann"), "a hash", NOW_US)
    bob = await store.add_user(UserName("bob"), "a hash", NOW_US)
    await store.erase_user(ann.id, TOMBSTONE, NOW_US)
    for user_id in (ann.id, *UNKNOWN_IDS):
        with refused(UserNotFound, f"erase_user({user_id}), erased or unknown,"):
            await store.erase_user(user_id, UserName("deleted again"), NOW_US)
        with refused(UserNotFound, f"void_tokens({user_id}), erased or unknown,"):
            await store.void_tokens(user_id, NOW_US)
        for old in ("a hash", "", "new"):
            await store.replace_password_hash(user_id, old, "new")
        found = await store.credentials_by_id(user_id)
        expect_equal(found, None, f"credentials_by_id({user_id})")
    known = await store.credentials(TOMBSTONE.canonical)
    expect_equal(known, None, "credentials of the tombstone")
    user = await store.user_by_id(ann.id)
    expect_equal(
        user, User(ann.id, TOMBSTONE.canonical, TOMBSTONE.typed), "user_by_id of an erased user"
    )
    expect_equal(
        await store.credentials("bob"), Credentials(bob, "a hash"), "credentials of another user"
    )
    await store.add_user(UserName("deleted again"), "a hash", NOW_US)


@check
async def a_taken_tombstone_is_refused(store: AccountStore) -> None:
    """erase_user raises NameTaken if a user has or ever had the tombstone's name, and changes
    nothing."""
    ann, bob, eve = [
        await store.add_user(UserName(name), f"hash of {name}", NOW_US)
        for name in ("ann", "bob", "eve")
    ]
    await store.erase_user(eve.id, TOMBSTONE, NOW_US)
    for taken in ("BOB", "Ann", "eve", TOMBSTONE.typed.upper()):
        with refused(NameTaken, f"erase_user with the taken tombstone {taken!a}"):
            await store.erase_user(ann.id, UserName(taken), NOW_US)
        found = await store.credentials("ann")
        expect_equal(found, Credentials(ann, "hash of ann"), "a refused erase_user")
        expect_equal(await store.user_by_name("bob"), bob, "a refused erase_user")
    await store.erase_user(ann.id, UserName("deleted user 2"), NOW_US)


@check
async def of_simultaneous_erasures_one_succeeds(store: AccountStore) -> None:
    """Of simultaneous erase_user calls for one user exactly one succeeds, and its tombstone is the
    name. Of simultaneous calls for several users with one tombstone, exactly one succeeds."""
    ann = await store.add_user(UserName("ann"), "a hash", NOW_US)
    tombstones = [UserName(f"deleted {n}") for n in range(12)]
    outcomes = await simultaneously(store.erase_user(ann.id, it, NOW_US) for it in tombstones)
    expect_equal(outcomes.count(None), 1, "simultaneous erase_user of one user: successes")
    others = sum(isinstance(outcome, UserNotFound) for outcome in outcomes)
    expect_equal(others, 11, "simultaneous erase_user of one user: UserNotFound")
    winner = tombstones[outcomes.index(None)]
    wanted = User(ann.id, winner.canonical, winner.typed)
    expect_equal(await store.user_by_id(ann.id), wanted, "user_by_id: the name")

    names = [f"user {n}" for n in range(12)]
    users = [await store.add_user(UserName(name), "a hash", NOW_US) for name in names]
    outcomes = await simultaneously(store.erase_user(it.id, TOMBSTONE, NOW_US) for it in users)
    expect_equal(outcomes.count(None), 1, "simultaneous erase_user with one tombstone: successes")
    others = sum(isinstance(outcome, NameTaken) for outcome in outcomes)
    expect_equal(others, 11, "simultaneous erase_user with one tombstone: NameTaken")
    for user, outcome in zip(users, outcomes, strict=True):
        wanted = user if outcome else User(user.id, TOMBSTONE.canonical, TOMBSTONE.typed)
        expect_equal(await store.user_by_id(user.id), wanted, "user_by_id after the erasures")
        known = await store.credentials_by_id(user.id)
        expect_equal(known is not None, outcome is not None, "credentials_by_id")


@check
async def a_name_is_not_free_during_its_erasure(store: AccountStore) -> None:
    """add_user raises NameTaken for a name before, during and after the erasure of its user. Of a
    simultaneous erase_user and add_user with the tombstone's name, exactly one succeeds."""
    for turn in range(6):
        user = await store.add_user(UserName(f"user {turn}"), "a hash", NOW_US)
        tombstone = UserName(f"deleted {turn}")
        calls = [store.add_user(UserName(f"USER {turn}"), "new", NOW_US) for _ in range(12)]
        pair = [_erased(store, user, tombstone), store.add_user(tombstone, "new", NOW_US)]
        calls[6:6] = pair if turn % 2 else reversed(pair)
        outcomes = await simultaneously(calls)
        winner, rival = outcomes[6:8]
        del outcomes[6:8]
        taken = [isinstance(outcome, NameTaken) for outcome in outcomes]
        expect(all(taken), "add_user of a name beside its erasure")
        if isinstance(winner, NameTaken):
            winner, rival = rival, winner
        expect(isinstance(rival, NameTaken), "erase_user or add_user loses the tombstone's name")
        found = await store.user_by_name(tombstone.canonical)
        expect_equal(winner, found, "user_by_name of the tombstone")


async def _erased(store: AccountStore, user: User, tombstone: UserName) -> User:
    await store.erase_user(user.id, tombstone, NOW_US)
    return User(user.id, tombstone.canonical, tombstone.typed)


RETIRING_CHECKS = (
    an_erased_user_gets_the_tombstone_name,
    a_name_is_never_given_again,
    an_erased_user_has_no_account,
    a_taken_tombstone_is_refused,
    of_simultaneous_erasures_one_succeeds,
    a_name_is_not_free_during_its_erasure,
)
