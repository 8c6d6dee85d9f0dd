"""Requests that nobody should send: good ones with something broken, and plain noise."""

import json
import random
from collections.abc import Callable

from tests.integration.contract.api import Someone
from tests.integration.contract.raw import request

NASTY = [
    b"\x00",
    b"\r\n",
    b"\n\n",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"%00",
    b"%ff",
    b"%2f..%2f",
    b"%",
    b"../../etc/passwd",
    b"{user_name}",
    b"${jndi:ldap://x}",
    b"' OR 1=1 --",
    b"\\ud800",
    b"\\u0000",
    b"9" * 400,
    b"-1e999",
    b"[" * 3000,
    b'{"a":' * 1500,
    "名前😀é".encode(),
    b"A" * 5000,
    b" HTTP/1.1",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
]
HEADERS = [
    "Authorization: {}",
    "Authorization: Bearer {}",
    "Authorization: bearer  {}",
    "Idempotency-Key: {}",
    "Content-Type: {}",
    "Content-Encoding: {}",
    "Content-Length: {}",
    "Transfer-Encoding: {}",
    "Accept: {}",
    "Cookie: {}",
    "Host: {}",
    "Expect: {}",
    "Upgrade: {}",
    "Connection: {}",
    "X-Forwarded-For: {}",
    "X-HTTP-Method-Override: {}",
    "{}: x",
    "{}",
]
VALUES = [
    "",
    "0",
    "-1",
    "1e9",
    "99999999999999999999",
    "100-continue",
    "websocket",
    "Upgrade, close",
    "gzip, chunked",
    "application/x-www-form-urlencoded",
    "null",
    '"',
    "a" * 4097,
    "e30.e30.e30",
]
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH", "CONNECT", "get"]
QUERY = ["limit", "before", "after", "Limit", "x", ""]


class Hostile:
    """Makes them up; the same seed makes the same ones."""

    def __init__(self, seed: int, by: Someone, peer: Someone) -> None:
        self._random = random.Random(seed)
        self._token = f"Authorization: Bearer {by.token}"
        self._by = by
        self._peer = peer
        self._kinds: list[tuple[Callable[[], bytes], int]] = [
            (self.body, 3),
            (self.path, 3),
            (self.head, 3),
            (self.corrupted, 2),
            (self.noise, 1),
        ]

    def next(self) -> bytes:
        [kind] = self._random.choices(*zip(*self._kinds, strict=True))
        made: bytes = kind()
        return made

    def body(self) -> bytes:
        line, fields = self._random.choices(
            [
                (f"POST /chats/{self._peer.name}/messages", {"message": "hello"}),
                ("POST /register", {"username": "mallory", "password": "short"}),
                ("POST /login", {"username": "mallory", "password": "long enough"}),
            ],
            [8, 1, 1],
        )[0]
        return request(line, self._token, body=self._mutated(json.dumps(fields).encode()))

    def path(self) -> bytes:
        some = [self._peer.name, "messages", "chats", "chat", "register", ":", "", "schema"]
        segments = [
            self._noisy(self._random.choice(some)) for _ in range(self._random.randint(0, 4))
        ]
        query = [
            f"{self._random.choice(QUERY)}={self._noisy(self._random.choice(VALUES))}"
            for _ in range(self._random.randint(0, 3))
        ]
        path = "/" + "/".join(segments) + "?" * bool(query) + "&".join(query)
        line = f"{self._random.choice(METHODS[:4])} {path.replace(' ', '%20')}"
        return request(line, self._token)

    def head(self) -> bytes:
        method = self._random.choice(METHODS)
        lines = [
            self._random.choice(HEADERS).format(self._noisy(self._random.choice(VALUES)))
            for _ in range(self._random.randint(1, 6))
        ]
        if self._random.random() < 0.3:
            lines += [f"X-{n}: {'x' * 500}" for n in range(self._random.randint(1, 100))]
        body = b'{"message": "hello"}' if self._random.random() < 0.5 else b""
        path = self._random.choice(["/chats", f"/chats/messages/{self._peer.name}", "/login"])
        return request(f"{method} {path}", self._token, *lines, body=body)

    def corrupted(self) -> bytes:
        good = request(
            f"POST /chats/{self._peer.name}/messages",
            self._token,
            "Idempotency-Key: 1",
            body=b'{"message": "hello"}',
        )
        return self._mutated(good)

    def noise(self) -> bytes:
        return self._random.randbytes(self._random.randint(1, 3000))

    def _noisy(self, text: str) -> str:
        if self._random.random() < 0.5:
            return text
        return self._mutated(text.encode()).decode("latin-1")

    def _mutated(self, data: bytes) -> bytes:
        made = bytearray(data)
        for _ in range(self._random.randint(1, 4)):
            start = self._random.randint(0, len(made))
            end = min(len(made), start + self._random.randint(0, 8))
            match self._random.randint(0, 4):
                case 0:
                    made[start:end] = b""
                case 1:
                    made[start:start] = made[start:end] * self._random.randint(1, 50)
                case 2:
                    made[start:end] = self._random.randbytes(end - start)
                case 3:
                    made[start:end] = self._random.choice(NASTY)
                case _:
                    del made[start:]
        return bytes(made)
