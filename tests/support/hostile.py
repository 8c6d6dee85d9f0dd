"""Hostile requests: valid requests with one fault, and random bytes."""

import json
import random
from collections.abc import Callable

from tests.support.api import Someone, some_address
from tests.support.raw import request

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
NUMBERS = ["0", "1", "2", "-1", "01", "1.0", "x", "", "9223372036854775807", "9223372036854775808"]
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH", "CONNECT", "get"]
QUERY = ["limit", "before", "after", "around", "wait", "Limit", "x", ""]


class Hostile:
    """Generates hostile requests; the same seed gives the same requests."""

    def __init__(self, seed: int, by: Someone, peer: Someone, chat: str) -> None:
        """`chat` is the path of their chat under /v1."""
        self._random = random.Random(seed)
        self._token = f"Authorization: Bearer {by.token}"
        self._by = by
        self._peer = peer
        self._chat = chat
        self._kinds: list[tuple[Callable[[], bytes], int]] = [
            (self.body, 3),
            (self.path, 3),
            (self.path_under_v1, 3),
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
                (f"POST {self._chat}/messages", {"text": "hello", "idempotency_key": "k"}),
                (f"PUT {self._chat}/read", {"seq": 0}),
                (f"PUT /v1/users/{self._peer.name}/chat", {}),
            ],
            [8, 1, 1, 8, 4, 1],
        )[0]
        headers = [f"{name}: {value}" for name, value in some_address().items()]
        body = self._mutated(json.dumps(fields).encode())
        return request(line, self._token, *headers, body=body)

    def path(self) -> bytes:
        some = [self._peer.name, "messages", "chats", "chat", "register", ":", "", "schema"]
        segments = [
            self._noisy(self._random.choice(some)) for _ in range(self._random.randint(0, 4))
        ]
        return self._request("/" + "/".join(segments), VALUES)

    def path_under_v1(self) -> bytes:
        number = self._noisy(self._random.choice(NUMBERS))
        path = self._random.choice(
            [
                "/v1/sync",
                "/v1/chats",
                "/v1/events",
                f"/v1/chats/{number}",
                f"/v1/chats/{number}/read",
                f"/v1/chats/{number}/messages",
                f"{self._chat}/messages",
                f"{self._chat}/messages/{number}",
                f"/v1/users/{self._noisy(self._peer.name)}/chat",
                f"/v1/{self._noisy('chats')}",
            ]
        )
        return self._request(path, NUMBERS)

    def _request(self, path: str, values: list[str]) -> bytes:
        query = [
            f"{self._random.choice(QUERY)}={self._noisy(self._random.choice(values))}"
            for _ in range(self._random.randint(0, 3))
        ]
        path += "?" * bool(query) + "&".join(query)
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
        path = self._random.choice(
            [
                "/chats",
                f"/chats/messages/{self._peer.name}",
                "/login",
                "/v1/sync",
                f"{self._chat}/messages",
            ]
        )
        return request(f"{method} {path}", self._token, *lines, body=body)

    def corrupted(self) -> bytes:
        line, body = self._random.choice(
            [
                (f"POST /chats/{self._peer.name}/messages", b'{"message": "hello"}'),
                (f"POST {self._chat}/messages", b'{"text": "hello"}'),
            ]
        )
        return self._mutated(request(line, self._token, "Idempotency-Key: 1", body=body))

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
