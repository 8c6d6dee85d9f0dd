"""What an AccountStore promises of users who are erased."""

from chatcore.errors import NameTaken, UserNotFound
from chatcore.model import User
from chatcore.names import UserName
from chatcore.ports import AccountStore, Credentials
from chatcore.testing.expect import expect, expect_equal, refused, simultaneously
from chatcore.testing.scene import NOW_US, UNKNOWN_IDS

TOMBSTONE = UserName("Deleted user 1")


async def an_erased_user_goes_on_under_the_tombstone(store: AccountStore) -> None:
    """erase_user gives the user the name of the tombstone, as typed, and takes the password."""
    ann = await store.add_user(UserName("Ann"), "hash of ann", NOW_US)
    bob = await store.add_user(UserName("Bob"), "hash of bob", NOW_US)
    await store.erase_user(ann.id, TOMBSTONE, NOW_US)
    erased = User(ann.id, TOMBSTONE.typed)
    expect_equal(await store.user_by_id(ann.id), erased, "the id finds the tombstone")
    found = await store.user_by_name(TOMBSTONE.canonical)
    expect_equal(found, erased, "the tombstone's name finds it")
    expect_equal(await store.user_by_name("ann"), None, "the former name finds nobody")
    for name in ("ann", TOMBSTONE.canonical):
        expect_equal(await store.credentials(name), None, "nobody logs in under either name")
    expect_equal(await store.credentials_by_id(ann.id), None, "nor goes on by the id")
    expect_equal(
        await store.credentials("bob"), Credentials(bob, "hash of bob"), "others are left alone"
    )


async def nobody_gets_the_name_again(store: AccountStore) -> None:
    """add_user raises NameTaken for a name whose user was erased, in every spelling, and for
    the tombstone's; and no id is given twice."""
    users = [await store.add_user(UserName(name), "a hash", NOW_US) for name in ("Åsa", "bob")]
    for user in reversed(users):
        await store.erase_user(user.id, UserName(f"deleted {user.id}"), NOW_US)
    names = ("åsa", "ÅSA", "A\u030asa", "\u212bsa", "bob", "ＢＯＢ")
    for name in (*names, *(f"Deleted {user.id}" for user in users)):
        with refused(NameTaken, f"the name {name!a}"):
            await store.add_user(UserName(name), "another hash", NOW_US)
    eve = await store.add_user(UserName("eve"), "a hash", NOW_US)
    expect(eve.id not in {user.id for user in users}, "no id is given twice")
    for name in ("bobb", "bo", "asa"):
        expect(await store.add_user(UserName(name), "a hash", NOW_US), "other names are free")


async def an_erased_user_has_no_account(store: AccountStore) -> None:
    """erase_user and void_tokens raise UserNotFound for a user who was erased before, or never
    was, and replace_password_hash does nothing."""
    ann = await store.add_user(UserName("ann"), "a hash", NOW_US)
    bob = await store.add_user(UserName("bob"), "a hash", NOW_US)
    await store.erase_user(ann.id, TOMBSTONE, NOW_US)
    for user_id in (ann.id, *UNKNOWN_IDS):
        with refused(UserNotFound, "to erase nobody"):
            await store.erase_user(user_id, UserName("deleted again"), NOW_US)
        with refused(UserNotFound, "to void the tokens of nobody"):
            await store.void_tokens(user_id, NOW_US)
        for old in ("a hash", "", "new"):
            await store.replace_password_hash(user_id, old, "new")
        expect_equal(await store.credentials_by_id(user_id), None, "nobody logs in")
    expect_equal(await store.credentials(TOMBSTONE.canonical), None, "nobody logs in")
    found = await store.user_by_id(ann.id)
    expect_equal(found, User(ann.id, TOMBSTONE.typed), "the tombstone stays")
    expect_equal(await store.credentials("bob"), Credentials(bob, "a hash"), "others stay")
    await store.add_user(UserName("deleted again"), "a hash", NOW_US)


async def a_taken_tombstone_is_refused(store: AccountStore) -> None:
    """erase_user raises NameTaken when the tombstone is a name that somebody has or ever had,
    and changes nothing."""
    ann, bob, eve = [
        await store.add_user(UserName(name), f"hash of {name}", NOW_US)
        for name in ("ann", "bob", "eve")
    ]
    await store.erase_user(eve.id, TOMBSTONE, NOW_US)
    for taken in ("BOB", "Ann", "eve", TOMBSTONE.typed.upper()):
        with refused(NameTaken, f"the tombstone {taken!a}"):
            await store.erase_user(ann.id, UserName(taken), NOW_US)
        found = await store.credentials("ann")
        expect_equal(found, Credentials(ann, "hash of ann"), "a refusal changes nothing")
        expect_equal(await store.user_by_name("bob"), bob, "nor for others")
    await store.erase_user(ann.id, UserName("deleted user 2"), NOW_US)


async def of_simultaneous_erasures_one_succeeds(store: AccountStore) -> None:
    """Of simultaneous erasures of one user exactly one succeeds, and its tombstone is the name;
    so it is for those of many users that want one tombstone."""
    ann = await store.add_user(UserName("ann"), "a hash", NOW_US)
    tombstones = [UserName(f"deleted {n}") for n in range(12)]
    outcomes = await simultaneously(store.erase_user(ann.id, it, NOW_US) for it in tombstones)
    expect_equal(outcomes.count(None), 1, "one erasure succeeds")
    others = sum(isinstance(outcome, UserNotFound) for outcome in outcomes)
    expect_equal(others, 11, "the others get UserNotFound")
    name = tombstones[outcomes.index(None)].typed
    expect_equal(await store.user_by_id(ann.id), User(ann.id, name), "its tombstone is the name")

    names = [f"user {n}" for n in range(12)]
    users = [await store.add_user(UserName(name), "a hash", NOW_US) for name in names]
    outcomes = await simultaneously(store.erase_user(it.id, TOMBSTONE, NOW_US) for it in users)
    expect_equal(outcomes.count(None), 1, "one of those with one tombstone succeeds")
    others = sum(isinstance(outcome, NameTaken) for outcome in outcomes)
    expect_equal(others, 11, "the others get NameTaken")
    for user, outcome in zip(users, outcomes, strict=True):
        wanted = user if outcome else User(user.id, TOMBSTONE.typed)
        expect_equal(await store.user_by_id(user.id), wanted, "only that one is erased")
        known = await store.credentials_by_id(user.id)
        expect_equal(known is not None, outcome is not None, "only that one is erased")


async def a_name_is_not_free_while_it_is_given_up(store: AccountStore) -> None:
    """add_user raises NameTaken before an erasure of that name, while it happens, and after.
    Of an erasure and an add_user that want the tombstone's name at the same time, one gets it."""
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
        expect(all(taken), "the name is never free")
        if isinstance(winner, NameTaken):
            winner, rival = rival, winner
        expect(isinstance(rival, NameTaken), "one gets the tombstone's name")
        found = await store.user_by_name(tombstone.canonical)
        expect_equal(winner, found, "who got it has it")


async def _erased(store: AccountStore, user: User, tombstone: UserName) -> User:
    await store.erase_user(user.id, tombstone, NOW_US)
    return User(user.id, tombstone.typed)


RETIRING_CHECKS = (
    an_erased_user_goes_on_under_the_tombstone,
    nobody_gets_the_name_again,
    an_erased_user_has_no_account,
    a_taken_tombstone_is_refused,
    of_simultaneous_erasures_one_succeeds,
    a_name_is_not_free_while_it_is_given_up,
)
