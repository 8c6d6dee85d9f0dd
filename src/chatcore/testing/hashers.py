"""The promises of a PasswordHasher.

No check judges a time in seconds, only the ratio of two times, each the shortest of several, so
that a busy machine changes no verdict.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter
from typing import Any

from chatcore.ports import PasswordHasher
from chatcore.testing.expect import accepted, check, expect, expect_equal

PASSWORD = "correct horse battery"  # noqa: S105
FEW_ATTEMPTS, ATTEMPTS = 5, 30
"""A check measures until its promise holds, at most this often: more often on a busy machine."""


@check
async def a_hash_verifies_its_password_alone(hasher: PasswordHasher) -> None:
    """verify returns True for the password of the hash, and for no other."""
    made = await hasher.hash(PASSWORD)
    expect((await hasher.verify(PASSWORD, made)) is True, "verify of a hash and its password")
    for wrong in (PASSWORD.upper(), PASSWORD + " ", PASSWORD[:-1], "", made):
        expect((await hasher.verify(wrong, made)) is False, f"verify refuses {wrong!r}")


@check
async def every_hash_is_salted(hasher: PasswordHasher) -> None:
    """Two hashes of one password differ, do not contain it, and both verify it."""
    hashes = [await hasher.hash(PASSWORD) for _ in range(2)]
    expect_equal(len(set(hashes)), 2, "hash is different at every call")
    for made in hashes:
        expect(PASSWORD not in made, "hash does not contain the password")
        expect(await hasher.verify(PASSWORD, made), "verify of each hash and its password")


@check
async def passwords_count_to_their_last_byte(hasher: PasswordHasher) -> None:
    """hash uses every byte of a password, in any script and up to 1,024 bytes, with white space."""
    for password, other in (
        ("x" * 1023 + "1", "x" * 1023 + "2"),
        ("пароль" * 80 + "я", "пароль" * 80 + "ю"),
        ("😀" * 255 + "😀", "😀" * 255 + "😁"),
        (" spaces\tin front", "spaces\tin front"),
    ):
        made = await hasher.hash(password)
        expect(await hasher.verify(password, made), f"verify of {password!a:.40}…")
        expect(
            not await hasher.verify(other, made), f"verify refuses {other!a:.40}…, another password"
        )


@check
async def without_a_hash_nothing_is_verified(hasher: PasswordHasher) -> None:
    """verify returns False for None, the hash of an unknown user."""
    for password in (PASSWORD, "", "None"):
        expect(
            (await hasher.verify(password, None)) is False,
            f"verify of {password!r} and no hash returns False",
        )


@check
async def a_malformed_hash_verifies_nothing(hasher: PasswordHasher) -> None:
    """verify returns False for a damaged or malformed hash, and raises nothing."""
    made = await hasher.hash(PASSWORD)
    for garbage in (
        *("", " ", PASSWORD, "$", "$$$$$", "!", "x" * 10_000, "хеш", "\0", "null"),
        *(made[:-1], made[1:], made[: len(made) // 2], made[::-1], made.upper()),
        "$argon2id$v=19$m=8,t=1,p=1$$",
        "$2b$12$",
        "scrypt:1:8:1$salt$00",
    ):
        with accepted(f"verify of the malformed hash {garbage!a:.60}"):
            verified = await hasher.verify(PASSWORD, garbage)
        expect(verified is False, f"verify of the malformed hash {garbage!a:.60} returns False")


@check
async def an_unknown_user_costs_as_much_as_a_wrong_password(hasher: PasswordHasher) -> None:
    """verify of None takes as long as verify of a new hash."""
    made = await hasher.hash(PASSWORD)
    wrong = unknown = float("inf")
    for attempt in range(ATTEMPTS):
        wrong = min(wrong, await _duration(hasher.verify("wrong password", made)))
        unknown = min(unknown, await _duration(hasher.verify("wrong password", None)))
        ratio = unknown / wrong
        if attempt >= FEW_ATTEMPTS and 1 / 4 < ratio < 4:
            break
    expect(1 / 4 < ratio < 4, f"verify of None took {ratio:.2g} times as long as a wrong password")


@check
async def a_fresh_hash_needs_no_rehash(hasher: PasswordHasher) -> None:
    """needs_rehash returns False for a hash made with the current parameters."""
    expect(
        not hasher.needs_rehash(await hasher.hash(PASSWORD)),
        "needs_rehash of a new hash returns False",
    )


@check
async def the_event_loop_is_not_blocked(hasher: PasswordHasher) -> None:
    """hash and verify, also of None, do not block the event loop for other tasks."""
    made = await hasher.hash(PASSWORD)
    works: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "hash": lambda: hasher.hash(PASSWORD),
        "verify": lambda: hasher.verify(PASSWORD, made),
        "verify against None": lambda: hasher.verify(PASSWORD, None),
    }
    for name, work in works.items():
        stalls: list[float] = []
        while len(stalls) < ATTEMPTS and min(stalls, default=1) > 1 / 2:
            stalls.append(await _longest_stall(work()))
        expect(
            min(stalls) < 1 / 2, f"{name} blocks the event loop for {min(stalls):.0%} of its time"
        )


async def _duration(work: Awaitable[object]) -> float:
    begin = perf_counter()
    await work
    return perf_counter() - begin


async def _longest_stall(work: Coroutine[Any, Any, object]) -> float:
    """Return the longest time without another task, as a share of the duration of the work."""
    task = asyncio.create_task(work)
    begin = last = perf_counter()
    stall = 0.0
    while not task.done():
        await asyncio.sleep(0)
        now = perf_counter()
        stall, last = max(stall, now - last), now
    await task
    return stall / (last - begin)


PasswordHasherCheck = Callable[[PasswordHasher], Awaitable[None]]

PASSWORD_HASHER_CHECKS: tuple[PasswordHasherCheck, ...] = (
    a_hash_verifies_its_password_alone,
    every_hash_is_salted,
    passwords_count_to_their_last_byte,
    without_a_hash_nothing_is_verified,
    a_malformed_hash_verifies_nothing,
    an_unknown_user_costs_as_much_as_a_wrong_password,
    a_fresh_hash_needs_no_rehash,
    the_event_loop_is_not_blocked,
)
