"""A client of chatcore, over a socket or to an ASGI application in process."""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

GIVEN_URL = os.environ.get("CHATCORE_TEST_URL")
SOAK = os.environ.get("CHATCORE_SOAK") == "1"
PASSWORD = "correct horse battery"


def fresh(word: str) -> str:
    """Return an unused name, also on a service with other users."""
    return f"{word}-{secrets.token_hex(5)}"


def some_address() -> dict[str, str]:
    """Return a header that gives a request a client address that no other test uses."""
    address = ".".join(str(secrets.randbelow(256)) for _ in range(3))
    return {"X-Forwarded-For": f"10.{address}"}


def segment(name: str) -> str:
    """Encode the name as a path segment."""
    return quote(name, safe="")


@dataclass(frozen=True)
class Someone:
    name: str
    token: str


class Api:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def call(
        self, method: str, path: str, by: Someone | None = None, **options: Any
    ) -> httpx.Response:
        """Send a request. `path` with its query is sent unchanged (in process, dots resolve)."""
        headers = httpx.Headers(options.pop("headers", None))
        if by is not None:
            headers["authorization"] = f"Bearer {by.token}"
        target = path.encode("latin-1")
        return await self.client.request(
            method,
            self.client.base_url.copy_with(raw_path=target),
            headers=headers,
            extensions={"target": target},
            **options,
        )

    async def register(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return await self.call("POST", "/register", json={"username": name, "password": password})

    async def log_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return await self.call("POST", "/login", json={"username": name, "password": password})

    async def join(self, word: str) -> Someone:
        """Register a new user and log in."""
        name = fresh(word)
        assert (await self.register(name)).status_code == 201
        answer = await self.log_in(name)
        return Someone(name, answer.json()["token"])

    async def open_chat(self, by: Someone, name: str) -> httpx.Response:
        return await self.call("POST", f"/chat/{segment(name)}", by)

    async def chat(self) -> tuple[Someone, Someone]:
        """Open a chat between two new users."""
        ann, bob = await self.join("ann"), await self.join("bob")
        assert (await self.open_chat(ann, bob.name)).status_code == 201
        return ann, bob

    async def chat_by_id(self) -> tuple[Someone, Someone, str]:
        """Open a chat between two new users. Also returns its path under /v1."""
        ann, bob = await self.join("ann"), await self.join("bob")
        answer = await self.ensure_chat(ann, bob.name)
        assert answer.status_code == 201
        return ann, bob, f"/v1/chats/{answer.json()['chat_id']}"

    async def ensure_chat(self, by: Someone, name: str) -> httpx.Response:
        return await self.call("PUT", f"/v1/users/{segment(name)}/chat", by)

    async def send(self, by: Someone, name: str, text: str, **options: Any) -> httpx.Response:
        path = f"/chats/{segment(name)}/messages"
        return await self.call("POST", path, by, json={"message": text}, **options)

    async def read(self, by: Someone, name: str, query: str = "") -> httpx.Response:
        return await self.call("GET", f"/chats/messages/{segment(name)}{query}", by)


class Under(Api):
    """The API of a chatcore mounted under a path."""

    def __init__(self, api: Api, prefix: str) -> None:
        super().__init__(api.client)
        self._prefix = prefix

    async def call(self, method: str, path: str, *args: Any, **options: Any) -> Any:
        return await super().call(method, self._prefix + path, *args, **options)


@asynccontextmanager
async def api_at(url: str) -> AsyncIterator[Api]:
    # Loading a certificate store takes longer than most tests here.
    async with httpx.AsyncClient(base_url=url, verify=False, timeout=60) as client:  # noqa: S501
        yield Api(client)


@asynccontextmanager
async def api_of(app: Any) -> AsyncIterator[Api]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://in.process") as client:
        yield Api(client)
