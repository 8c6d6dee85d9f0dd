"""Broken forms of good input, for every decoder of bytes that strangers send."""

import random
from collections.abc import Iterator

from tests.support.soak import SOAK

COUNT = 100_000 if SOAK else 2_000

SCRAPS = [
    *(bytes([byte]) for byte in range(256)),
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xef\xbf\xbd",
    b"\xe2\x80\xae",
    b"\xcc\x81" * 40,
    b"\\ud800",
    b"\\u0000",
    b"%00",
    b"%2f",
    b"%2e%2e",
    b"%",
    b"\r\n",
    b"..",
    b"//",
    b"9" * 30,
    b"-1",
    b"1e400",
    b"[" * 2000,
    b'{"a":' * 1000,
    b"null",
    b"true",
    b"A" * 5000,
    "\u1e9e\u0130\ufb01\u00df".encode(),
    b"eyJhbGciOiJub25lIn0",
]


def mutations(seed: int, *good: bytes, count: int = COUNT) -> Iterator[bytes]:
    """Yield `count` broken forms: cut, joined, doubled, with scraps in between."""
    rng = random.Random(seed)
    for _ in range(count):
        text = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            at = rng.randint(0, len(text))
            to = min(len(text), at + rng.randint(0, 8))
            change = rng.randrange(5)
            if change == 0:
                text[at:to] = rng.choice(SCRAPS)
            elif change == 1:
                del text[at:to]
            elif change == 2:
                text[at:at] = text[at:to] * rng.randint(1, 3)
            elif change == 3:
                text[at:at] = rng.choice(good)
            elif at < len(text):
                text[at] ^= 1 << rng.randrange(8)
        yield bytes(text)
