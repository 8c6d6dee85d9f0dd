"""What a PasswordHasher promises.

Nothing here is judged by how long it takes in seconds: only by two times compared, each the
shortest of several, so that a busy machine changes no verdict.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter
from typing import Any

from chatcore.ports import PasswordHasher
from chatcore.testing.expect import accepted, expect, expect_equal

PASSWORD = "correct horse battery"  # noqa: S105
FEW_ATTEMPTS, ATTEMPTS = 5, 30
"""Times are taken until the promise is seen to hold: more often on a busy machine."""


async def a_hash_verifies_its_password_alone(hasher: PasswordHasher) -> None:
    """verify is true of the password that the hash was made from, and of no other."""
    made = await hasher.hash(PASSWORD)
    expect((await hasher.verify(PASSWORD, made)) is True, "a hash verifies its password")
    for wrong in (PASSWORD.upper(), PASSWORD + " ", PASSWORD[:-1], "", made):
        expect((await hasher.verify(wrong, made)) is False, f"a hash does not verify {wrong!r}")


async def every_hash_is_salted(hasher: PasswordHasher) -> None:
    """Two hashes of one password differ, do not show it, and both verify it."""
    hashes = [await hasher.hash(PASSWORD) for _ in range(2)]
    expect_equal(len(set(hashes)), 2, "two hashes of one password differ")
    for made in hashes:
        expect(PASSWORD not in made, "a hash does not show its password")
        expect(await hasher.verify(PASSWORD, made), "each verifies the password")


async def passwords_count_to_their_last_byte(hasher: PasswordHasher) -> None:
    """Passwords of every script and up to 1,024 bytes are hashed whole, white space and all."""
    for password, other in (
        ("x" * 1023 + "1", "x" * 1023 + "2"),
        ("пароль" * 80 + "я", "пароль" * 80 + "ю"),
        ("😀" * 255 + "😀", "😀" * 255 + "😁"),
        (" spaces\tin front", "spaces\tin front"),
    ):
        made = await hasher.hash(password)
        expect(await hasher.verify(password, made), f"{password!a:.40}… is verified")
        expect(not await hasher.verify(other, made), f"{other!a:.40}… is another password")


async def without_a_hash_nothing_is_verified(hasher: PasswordHasher) -> None:
    """With None, for a user who does not exist, verify is False."""
    for password in (PASSWORD, "", "None"):
        expect((await hasher.verify(password, None)) is False, "None verifies nothing")


async def what_is_no_hash_verifies_nothing(hasher: PasswordHasher) -> None:
    """With a stored hash that is damaged or none at all, verify is False, not an error."""
    made = await hasher.hash(PASSWORD)
    for garbage in (
        *("", " ", PASSWORD, "$", "$$$$$", "!", "x" * 10_000, "хеш", "\0", "null"),
        *(made[:-1], made[1:], made[: len(made) // 2], made[::-1], made.upper()),
        "$argon2id$v=19$m=8,t=1,p=1$$",
        "$2b$12$",
        "scrypt:1:8:1$salt$00",
    ):
        with accepted(f"{garbage!a:.60} as a hash"):
            verified = await hasher.verify(PASSWORD, garbage)
        expect(verified is False, f"{garbage!a:.60} is no hash")


async def an_unknown_user_costs_as_much_as_a_wrong_password(hasher: PasswordHasher) -> None:
    """With None, verify does the work that a hash made today costs."""
    made = await hasher.hash(PASSWORD)
    wrong = unknown = float("inf")
    for attempt in range(ATTEMPTS):
        wrong = min(wrong, await _duration(hasher.verify("wrong password", made)))
        unknown = min(unknown, await _duration(hasher.verify("wrong password", None)))
        ratio = unknown / wrong
        if attempt >= FEW_ATTEMPTS and 1 / 4 < ratio < 4:
            break
    expect(1 / 4 < ratio < 4, f"an unknown user takes {ratio:.2g} times what a wrong password does")


async def a_fresh_hash_needs_no_rehash(hasher: PasswordHasher) -> None:
    """needs_rehash is false of a hash made with today's parameters."""
    expect(not hasher.needs_rehash(await hasher.hash(PASSWORD)), "a fresh hash is up to date")


async def the_event_loop_is_not_blocked(hasher: PasswordHasher) -> None:
    """While a password is hashed or verified, also against None, other tasks go on."""
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
            min(stalls) < 1 / 2, f"{name} holds the event loop for {min(stalls):.0%} of its time"
        )


async def _duration(work: Awaitable[object]) -> float:
    begin = perf_counter()
    await work
    return perf_counter() - begin


async def _longest_stall(work: Coroutine[Any, Any, object]) -> float:
    """The longest time that no other task ran, as a share of the time that the work took."""
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
    what_is_no_hash_verifies_nothing,
    an_unknown_user_costs_as_much_as_a_wrong_password,
    a_fresh_hash_needs_no_rehash,
    the_event_loop_is_not_blocked,
)
