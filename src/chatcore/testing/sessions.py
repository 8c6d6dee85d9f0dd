"""The promises of an AccountStore about device sessions."""

from hashlib import sha256

from chatcore.errors import UserNotFound
from chatcore.model import User
from chatcore.names import UserName
from chatcore.ports import AccountStore, DeviceSession, NewSession, Renewal, Renewed
from chatcore.testing.expect import check, expect, expect_equal, refused, simultaneously
from chatcore.testing.scene import NOW_US, UNKNOWN_IDS

HOUR = 3_600_000_000
MINUTE = 60_000_000
IDLE = 10 * HOUR
LONGEST = 24 * HOUR
LIMIT = 50
TOMBSTONE = UserName("Deleted user 1")


def digest(*words: object) -> bytes:
    """Return the digest of a refresh token, or a salt: 32 bytes that look random."""
    return sha256(repr(words).encode()).digest()


def session_id(*words: object) -> str:
    return digest(*words).hex()[:32]


async def add_user(store: AccountStore, name: str = "ann") -> User:
    return await store.add_user(UserName(name), "a hash", NOW_US)


async def add(
    store: AccountStore, user: User, device: str = "phone", at_us: int = NOW_US, limit: int = LIMIT
) -> DeviceSession:
    """Add a session of the user, and return it as it must be. Its first refresh token is number
    0."""
    id_ = session_id(user.id, device)
    new = NewSession(id_, user.id, device, digest(id_, 0), at_us, at_us + IDLE, at_us + LONGEST)
    found = await store.credentials_by_id(user.id)
    from_us = found.tokens_from_us if found else 0
    await store.add_session(new, tokens_from_us=from_us, limit=limit)
    return DeviceSession(id_, user, device, at_us, at_us, at_us + IDLE)


def renewal(session: DeviceSession, token: int, at_us: int, successor: object = None) -> Renewal:
    """Use the refresh token of this number at this time. By default its successor is the next."""
    successor = token + 1 if successor is None else successor
    return Renewal(
        session.id,
        digest(session.id, token),
        digest(session.id, successor),
        digest("salt", successor),
        at_us,
        at_us - MINUTE,
        at_us + IDLE,
    )


def renewed(session: DeviceSession, at_us: int) -> DeviceSession:
    """The session after a renewal at this time."""
    expires_us = min(at_us + IDLE, session.created_us + LONGEST)
    return session._replace(used_us=at_us, expires_us=expires_us)


@check
async def a_session_is_found_by_its_id_and_user(store: AccountStore) -> None:
    """session_by_id and sessions_of return an added session exactly, sessions_of the most recently
    used first."""
    ann, bob = await add_user(store), await add_user(store, "bob")
    names = ("Ann's phone", "Телефон 📱", "d" * 64, " ", "100% 'a' \"b\" \\ _")
    sessions = [await add(store, ann, name, NOW_US + n) for n, name in enumerate(names)]
    other = await add(store, bob, "phone")
    for session in (*sessions, other):
        found = await store.session_by_id(session.id, NOW_US + 10)
        expect_equal(found, session, "session_by_id of an added session")
    wanted = [*reversed(sessions)]
    expect_equal(list(await store.sessions_of(ann.id, NOW_US + 10)), wanted, "sessions_of")
    await store.renew_session(renewal(sessions[1], 0, NOW_US + 20))
    sessions.append(renewed(sessions.pop(1), NOW_US + 20))
    wanted = [*reversed(sessions)]
    expect_equal(list(await store.sessions_of(ann.id, NOW_US + 20)), wanted, "sessions_of")
    expect_equal(list(await store.sessions_of(bob.id, NOW_US)), [other], "sessions_of another user")
    for unknown in ("", "0" * 32, sessions[0].id[:-1], sessions[0].id + "0", "%", "_" * 32):
        found = await store.session_by_id(unknown, NOW_US)
        expect_equal(found, None, f"session_by_id({unknown!r})")
    for user_id in UNKNOWN_IDS:
        expect_equal(list(await store.sessions_of(user_id, NOW_US)), [], f"sessions_of({user_id})")


@check
async def a_session_needs_the_credentials_of_now(store: AccountStore) -> None:
    """add_session raises UserNotFound unless `tokens_from_us` is the user's, and for users without
    an account, and adds nothing."""
    ann, bob = await add_user(store), await add_user(store, "bob")
    raised = await store.void_tokens(ann.id, NOW_US)
    await store.erase_user(bob.id, TOMBSTONE, NOW_US)
    for user_id, from_us in (
        (ann.id, 0),
        (ann.id, raised - 1),
        (ann.id, raised + 1),
        (bob.id, 0),
        *((unknown, 0) for unknown in UNKNOWN_IDS),
    ):
        id_ = session_id(user_id, from_us)
        new = NewSession(
            id_, user_id, "phone", digest(id_), NOW_US, NOW_US + IDLE, NOW_US + LONGEST
        )
        with refused(UserNotFound, f"add_session of user {user_id} with tokens from {from_us}"):
            await store.add_session(new, tokens_from_us=from_us, limit=LIMIT)
        expect_equal(await store.session_by_id(id_, NOW_US), None, "a refused add_session")
    session = await add(store, ann)
    expect_equal(list(await store.sessions_of(ann.id, NOW_US)), [session], "add_session")


@check
async def a_renewal_replaces_the_token(store: AccountStore) -> None:
    """renew_session with the present token replaces it, and prolongs the session up to its
    `ends_us`. It changes no other session."""
    ann = await add_user(store)
    session, other = await add(store, ann, "phone"), await add(store, ann, "laptop")
    for token in range(4):
        at_us = NOW_US + (token + 1) * 5 * HOUR
        session = renewed(session, at_us)
        outcome = await store.renew_session(renewal(session, token, at_us))
        expect_equal(outcome, Renewed(session, digest("salt", token + 1)), "renew_session")
        found = await store.session_by_id(session.id, at_us)
        expect_equal(found, session, "session_by_id of a renewed session")
    expect_equal(session.expires_us, NOW_US + LONGEST, "renew_session: the last time of expiry")
    found = await store.session_by_id(other.id, NOW_US)
    expect_equal(found, other, "renew_session of another session")


@check
async def a_renewal_can_be_repeated(store: AccountStore) -> None:
    """renew_session with the token before the present one returns the first salt, if that was
    replaced after `repeat_since_us`, and changes nothing."""
    session = await add(store, await add_user(store))
    for token in range(2):
        at_us = NOW_US + token * HOUR
        session = renewed(session, at_us)
        wanted = Renewed(session, digest("salt", token + 1))
        for later in (0, 1, MINUTE - 1):
            again = renewal(session, token, at_us + later, token + 1 if not later else "another")
            expect_equal(await store.renew_session(again), wanted, "a repeated renew_session")
        found = await store.session_by_id(session.id, at_us + MINUTE)
        expect_equal(found, session, "session_by_id after a repeated renew_session")


@check
async def a_token_of_the_past_ends_the_session(store: AccountStore) -> None:
    """renew_session with any but the present token ends the session, unless it is a repetition:
    the one before it once the minute is over or its successor was used, an older or a foreign
    one."""
    ann = await add_user(store)
    kept = await add(store, ann, "kept")
    for device, token, at_us in (
        ("a minute later", 1, NOW_US + MINUTE),
        ("hours later", 1, NOW_US + 9 * HOUR),
        ("after its successor was used", 0, NOW_US),
        ("never given", 7, NOW_US),
    ):
        session = await add(store, ann, device)
        for n in range(2):
            await store.renew_session(renewal(session, n, NOW_US))
        session = renewed(session, NOW_US)
        outcome = await store.renew_session(renewal(session, token, at_us, "another"))
        expect_equal(outcome, Renewed(session, None), f"renew_session with a token {device}")
        found = await store.session_by_id(session.id, NOW_US)
        expect_equal(found, None, "session_by_id of a session whose token was used twice")
        for again in (token, 2):
            late = await store.renew_session(renewal(session, again, NOW_US))
            expect_equal(late, None, "renew_session of a session that ended")
    expect_equal(list(await store.sessions_of(ann.id, NOW_US)), [kept], "sessions_of")


@check
async def an_expired_session_is_gone(store: AccountStore) -> None:
    """No method finds a session from `expires_us` on. A refused renew_session and end_session
    change nothing."""
    ann = await add_user(store)
    session = await add(store, ann)
    end = NOW_US + IDLE
    for at_us in (end, end + HOUR):
        expect_equal(await store.session_by_id(session.id, at_us), None, "session_by_id, expired")
        expect_equal(list(await store.sessions_of(ann.id, at_us)), [], "sessions_of, expired")
        for token in (0, 5):
            outcome = await store.renew_session(renewal(session, token, at_us))
            expect_equal(outcome, None, "renew_session of an expired session")
        ended = await store.end_session(ann.id, session.id, at_us)
        expect_equal(ended, False, "end_session of an expired session")
    found = await store.session_by_id(session.id, end - 1)
    expect_equal(found, session, "session_by_id before the session expires")


@check
async def of_simultaneous_renewals_one_replaces(store: AccountStore) -> None:
    """Of any number of simultaneous renew_session calls with the present token, all return one
    salt, and the session goes on with its successor."""
    session = await add(store, await add_user(store))
    outcomes = await simultaneously(
        store.renew_session(renewal(session, 0, NOW_US, f"successor {n}")) for n in range(16)
    )
    salts = {outcome.salt for outcome in outcomes if isinstance(outcome, Renewed)}
    expect_equal(len(salts), 1, "simultaneous renew_session: salts")
    winners = [n for n in range(16) if {digest("salt", f"successor {n}")} == salts]
    expect(winners, "simultaneous renew_session: the salt is one that was given")
    used = renewal(session, 0, NOW_US + 1)._replace(
        digest=digest(session.id, f"successor {winners[0]}")
    )
    outcome = await store.renew_session(used)
    wanted = Renewed(renewed(session, NOW_US + 1), used.salt)
    expect_equal(outcome, wanted, "renew_session with the successor of simultaneous calls")


@check
async def a_user_has_a_limited_number_of_sessions(store: AccountStore) -> None:
    """add_session ends the sessions used longest ago, so that at most `limit` remain, and returns
    their ids. Expired ones do not count, and other users keep theirs."""
    ann, bob = await add_user(store), await add_user(store, "bob")
    other = await add(store, bob)
    await add(store, ann, "expired", NOW_US - IDLE)
    sessions = [await add(store, ann, f"device {n}", NOW_US + n, limit=5) for n in range(5)]
    await store.renew_session(renewal(sessions[0], 0, NOW_US + 10))
    sessions.append(renewed(sessions.pop(0), NOW_US + 10))
    for n in range(3):
        id_, at_us = session_id("new", n), NOW_US + 20 + n
        new = NewSession(id_, ann.id, "new", digest(id_), at_us, at_us + IDLE, at_us + LONGEST)
        ended = await store.add_session(new, tokens_from_us=0, limit=5)
        expect_equal(list(ended), [sessions.pop(0).id], "add_session: what ended by the limit")
        sessions.append(DeviceSession(id_, ann, "new", at_us, at_us, at_us + IDLE))
        wanted = [*reversed(sessions)]
        expect_equal(list(await store.sessions_of(ann.id, at_us)), wanted, "sessions_of")
    id_ = session_id("only")
    new = NewSession(id_, ann.id, "only", digest(id_), NOW_US, NOW_US + IDLE, NOW_US + LONGEST)
    ended = await store.add_session(new, tokens_from_us=0, limit=1)
    expect_equal({*ended}, {session.id for session in sessions}, "add_session with limit=1")
    expect_equal(list(await store.sessions_of(bob.id, NOW_US)), [other], "sessions_of another user")


@check
async def simultaneous_sessions_keep_to_the_limit(store: AccountStore) -> None:
    """After any number of simultaneous add_session calls the user has at most `limit` sessions."""
    ann = await add_user(store)

    def calls() -> list[NewSession]:
        ids = [session_id(n) for n in range(16)]
        return [
            NewSession(id_, ann.id, "new", digest(id_), NOW_US, NOW_US + IDLE, NOW_US + LONGEST)
            for id_ in ids
        ]

    await simultaneously(store.add_session(new, tokens_from_us=0, limit=4) for new in calls())
    expect_equal(len(await store.sessions_of(ann.id, NOW_US)), 4, "simultaneous add_session")


@check
async def a_user_ends_only_own_sessions(store: AccountStore) -> None:
    """end_session ends the session of that user, at once and once, and no other."""
    ann, bob = await add_user(store), await add_user(store, "bob")
    session, other = await add(store, ann), await add(store, ann, "laptop")
    for user_id, id_ in (
        (bob.id, session.id),
        (ann.id, "0" * 32),
        (ann.id, ""),
        *((unknown, session.id) for unknown in UNKNOWN_IDS),
    ):
        ended = await store.end_session(user_id, id_, NOW_US)
        expect_equal(ended, False, f"end_session({user_id}, {id_!r})")
    outcomes = await simultaneously(store.end_session(ann.id, session.id, NOW_US) for _ in "12345")
    expect_equal(outcomes.count(True), 1, "simultaneous end_session: calls that return True")
    expect_equal(await store.session_by_id(session.id, NOW_US), None, "session_by_id, ended")
    expect_equal(
        await store.renew_session(renewal(session, 0, NOW_US)), None, "renew_session, ended"
    )
    expect_equal(list(await store.sessions_of(ann.id, NOW_US)), [other], "sessions_of")


@check
async def voiding_and_erasing_end_all_sessions(store: AccountStore) -> None:
    """void_tokens, with a password or without, and erase_user end all sessions of the user, and
    none of another."""
    bob = await add_user(store, "bob")
    other = await add(store, bob)
    for n, (erased, password_hash) in enumerate(((False, None), (False, "second"), (True, None))):
        ann = await add_user(store, f"ann {n}")
        sessions = [await add(store, ann, device) for device in ("phone", "laptop")]
        if erased:
            await store.erase_user(ann.id, TOMBSTONE, NOW_US)
        else:
            await store.void_tokens(ann.id, NOW_US, password_hash=password_hash)
        expect_equal(
            list(await store.sessions_of(ann.id, NOW_US)), [], "sessions_of after void_tokens"
        )
        for session in sessions:
            found = await store.session_by_id(session.id, NOW_US)
            expect_equal(found, None, "session_by_id after void_tokens or erase_user")
            outcome = await store.renew_session(renewal(session, 0, NOW_US))
            expect_equal(outcome, None, "renew_session after void_tokens or erase_user")
    expect_equal(list(await store.sessions_of(bob.id, NOW_US)), [other], "sessions_of another user")


@check
async def no_session_outlives_a_simultaneous_change(store: AccountStore) -> None:
    """Of simultaneous add_session and void_tokens, or erase_user, calls, no session remains that
    was added with the former `tokens_from_us`."""
    for turn in range(8):
        ann = await add_user(store, f"ann {turn}")
        ids = [session_id(turn, n) for n in range(8)]
        calls = [
            store.add_session(
                NewSession(id_, ann.id, "x", digest(id_), NOW_US, NOW_US + IDLE, NOW_US + LONGEST),
                tokens_from_us=0,
                limit=LIMIT,
            )
            for id_ in ids
        ]
        change = (
            store.erase_user(ann.id, UserName(f"Deleted {turn}"), NOW_US)
            if turn % 2
            else store.void_tokens(ann.id, NOW_US)
        )
        await simultaneously([*calls[:turn], change, *calls[turn:]])
        expect_equal(
            list(await store.sessions_of(ann.id, NOW_US)), [], "add_session beside a change"
        )


SESSION_CHECKS = (
    a_session_is_found_by_its_id_and_user,
    a_session_needs_the_credentials_of_now,
    a_renewal_replaces_the_token,
    a_renewal_can_be_repeated,
    a_token_of_the_past_ends_the_session,
    an_expired_session_is_gone,
    of_simultaneous_renewals_one_replaces,
    a_user_has_a_limited_number_of_sessions,
    simultaneous_sessions_keep_to_the_limit,
    a_user_ends_only_own_sessions,
    voiding_and_erasing_end_all_sessions,
    no_session_outlives_a_simultaneous_change,
)
