"""The promises of an AccountStore about void tokens."""

from chatcore.errors import UserNotFound
from chatcore.names import UserName
from chatcore.ports import AccountStore, Credentials
from chatcore.testing.expect import check, expect, expect_equal, refused, simultaneously
from chatcore.testing.scene import NOW_US, UNKNOWN_IDS

SECOND = 1_000_000


@check
async def credentials_are_found_by_id(store: AccountStore) -> None:
    """credentials_by_id returns the same as credentials, and None for an unknown id."""
    for name in ("ann", "bob"):
        user = await store.add_user(UserName(name), f"hash of {name}", NOW_US)
        wanted = Credentials(user, f"hash of {name}", 0)
        expect_equal(await store.credentials(name), wanted, "credentials by name")
        expect_equal(await store.credentials_by_id(user.id), wanted, "credentials by id")
    for unknown in UNKNOWN_IDS:
        expect_equal(await store.credentials_by_id(unknown), None, f"credentials_by_id({unknown})")


@check
async def the_time_of_void_tokens_grows(store: AccountStore) -> None:
    """void_tokens raises the user's `tokens_from_us` to `from_us`, or by a second if that is more,
    returns it, and changes nothing else."""
    ann = await store.add_user(UserName("ann"), "hash of ann", NOW_US)
    bob = await store.add_user(UserName("bob"), "hash of bob", NOW_US)
    for from_us, wanted in (
        (NOW_US, NOW_US),
        (NOW_US, NOW_US + SECOND),
        (0, NOW_US + 2 * SECOND),
        (NOW_US + 3 * SECOND - 1, NOW_US + 3 * SECOND),
        (NOW_US + 4 * SECOND + 1, NOW_US + 4 * SECOND + 1),
        (NOW_US + 10**12, NOW_US + 10**12),
    ):
        expect_equal(
            await store.void_tokens(ann.id, from_us), wanted, f"void_tokens from {from_us}"
        )
        found = Credentials(ann, "hash of ann", wanted)
        expect_equal(await store.credentials("ann"), found, "credentials after void_tokens")
        by_id = await store.credentials_by_id(ann.id)
        expect_equal(by_id, found, "credentials_by_id after void_tokens")
    wanted_of_bob = Credentials(bob, "hash of bob")
    expect_equal(await store.credentials("bob"), wanted_of_bob, "void_tokens changes no other user")


@check
async def a_password_changes_in_the_step_that_voids(store: AccountStore) -> None:
    """void_tokens with a password hash stores it in the same step; without one, the old hash
    stays."""
    ann = await store.add_user(UserName("ann"), "first", NOW_US)
    for password_hash, kept in ((None, "first"), ("second", "second"), (None, "second")):
        raised = await store.void_tokens(ann.id, NOW_US, password_hash=password_hash)
        wanted = Credentials(ann, kept, raised)
        expect_equal(await store.credentials_by_id(ann.id), wanted, "void_tokens: hash and time")


@check
async def simultaneous_voidings_each_grow(store: AccountStore) -> None:
    """Of any number of simultaneous void_tokens calls, each raises the time by a second or more,
    and the password hash of the last one stays."""
    ann = await store.add_user(UserName("ann"), "first", NOW_US)
    raised = await simultaneously(
        store.void_tokens(ann.id, NOW_US, password_hash=f"hash {n}") for n in range(24)
    )
    times = [time for time in raised if isinstance(time, int)]
    wanted = [NOW_US + n * SECOND for n in range(24)]
    expect_equal(sorted(times), wanted, "simultaneous void_tokens: every call raises the time")
    last = max(range(24), key=lambda n: times[n])
    found = Credentials(ann, f"hash {last}", wanted[-1])
    expect_equal(
        await store.credentials_by_id(ann.id), found, "simultaneous void_tokens: the last hash"
    )


@check
async def void_tokens_refuses_unknown_users(store: AccountStore) -> None:
    """void_tokens raises UserNotFound for an unknown id and changes nothing."""
    ann = await store.add_user(UserName("ann"), "first", NOW_US)
    for unknown in UNKNOWN_IDS:
        for password_hash in (None, "second"):
            with refused(UserNotFound, f"void_tokens of the unknown user {unknown}"):
                await store.void_tokens(unknown, NOW_US, password_hash=password_hash)
        created = await store.credentials_by_id(unknown)
        expect_equal(created, None, "a refused void_tokens creates no user")
    found = await store.credentials_by_id(ann.id)
    expect(found == Credentials(ann, "first"), "a refused void_tokens changes nothing")


VOIDING_CHECKS = (
    credentials_are_found_by_id,
    the_time_of_void_tokens_grows,
    a_password_changes_in_the_step_that_voids,
    simultaneous_voidings_each_grow,
    void_tokens_refuses_unknown_users,
)
