"""Real pages of another site, in a real browser, against a host whose credential is a cookie."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from chatcore import Message, Messenger
from chatcore_litestar import create_app
from chatcore_memory import MemoryStore
from tests.integration.page.people import HOST, Contexts
from tests.support.logins import CookieLogin
from tests.support.serving import serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

SEND = "/chats/2/messages"
V1_SEND = "/v1/chats/1/messages"

# A form whose text/plain body is JSON.
TRICK = """<form id=trick method=post enctype=text/plain action="{host}{path}">
<input name='{{"message":"forged","text":"forged","x":"' value='"}}'></form>"""
# A form of a type that a browser sends without asking.
PLAIN = """<form id=plain method=post action="{host}/chat/3"><input name=a value=b></form>"""


class Host:
    """A host in a thread, at two sites: its own, and one where a page attacks it. Its middleware
    serves the pages of both."""

    def __init__(self, own: str = "127.0.0.1", *, ambient: bool = True) -> None:
        self._own = own
        self._ambient = ambient
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.port = 0
        self.refused: list[int] = []
        """The statuses of refused writes."""

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self.messenger = Messenger(MemoryStore(), realm="shop")
        login = CookieLogin(self.messenger, self._ambient, {"a": ("1", "Ann")})
        self._ann, bob, _ = [await self.messenger.user(n, name=n) for n in "123"]
        self._chat = await self.messenger.open_chat(self._ann, bob)

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            await self._answer(scope, receive, send)

        async with serving(answer) as server:
            self.port = int(server.url.rpartition(":")[2])
            # Only a name that stands for no loopback address needs its origin listed.
            origins = [f"http://{self._own}:{self.port}"] if self._own == HOST else []
            self._app: Any = create_app(self.messenger, authenticator=login, origins=origins)
            self._ready.set()
            await self._over.wait()

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] not in {"/sign-in", "/attack"}:

            async def watching(message: Any) -> None:
                if scope["method"] != "GET" and message.get("status", 0) >= 400:
                    self.refused.append(message["status"])
                await send(message)

            await self._app(scope, receive, watching)
            return
        query = scope["query_string"].decode()
        forms = "".join(
            form.format(host=query, path=path)
            for form, path in ((TRICK, SEND), (TRICK.replace("trick", "v1"), V1_SEND), (PLAIN, ""))
        )
        headers = [
            (b"content-type", b"text/html"),
            # Without SameSite: sent with a form's POST for two minutes, and so by Lax, too.
            (b"set-cookie", b"sid=a; Path=/; HttpOnly"),
        ]
        body = b"<!doctype html>" + (forms.encode() if scope["path"] == "/attack" else b"")
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def __enter__(self) -> "Host":
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def texts(self) -> list[str]:
        async def read() -> list[Message]:
            page = await self.messenger.page(self._ann, self._chat)
            return [*page.messages]

        found = asyncio.run_coroutine_threadsafe(read(), self._loop).result(60)
        return [message.text for message in found]

    def chats(self) -> int:
        listed = self.messenger.list_chats(self._ann)
        return len(asyncio.run_coroutine_threadsafe(listed, self._loop).result(60))


@contextmanager
def tab(contexts: Contexts, host: Host, own: str) -> Iterator["Page"]:
    """A tab of a browser that is signed in at the host."""
    context = contexts.take(java_script_enabled=True)
    try:
        page = context.new_page()
        page.goto(f"http://{own}:{host.port}/sign-in")
        yield page
    finally:
        context.close()


def submit(page: "Page", host: Host, own: str, foreign: str, form: str) -> None:
    """Let a page of a foreign site submit one of its forms to the host."""
    page.goto(f"http://{foreign}:{host.port}/attack?http://{own}:{host.port}")
    with page.expect_navigation():
        page.evaluate(f"document.getElementById('{form}').submit()")


FETCH = """async ([url, mode, type]) => {
    const headers = {'content-type': type}, body = '{"message":"by script"}'
    const options = {method: 'POST', mode, credentials: 'include', headers, body}
    return (await fetch(url, options).catch(() => ({status: -1}))).status
}"""

# The host's own name, and the attacker's. To a name that is not local, Chromium sends no
# Sec-Fetch-Site over plain HTTP: there the listed origin has to decide.
SITES = {"marked": ("127.0.0.1", "localhost"), "unmarked": (HOST, "127.0.0.1")}


@pytest.mark.parametrize(("own", "foreign"), SITES.values(), ids=SITES.keys())
def test_forms_and_scripts_of_another_site_change_nothing(
    own: str, foreign: str, contexts: Contexts
) -> None:
    with Host(own) as host, tab(contexts, host, own) as page:
        for form in ("trick", "v1", "plain"):
            submit(page, host, own, foreign, form)
        assert host.refused == [403, 403, 403]
        page.goto(f"http://{foreign}:{host.port}/attack")
        url = f"http://{own}:{host.port}{SEND}"
        for mode, label in (("no-cors", "text/plain"), ("cors", "text/plain")):
            # A script of another site cannot read the answer.
            assert page.evaluate(FETCH, [url, mode, label]) in {-1, 0}
        assert page.evaluate(FETCH, [url, "cors", "application/json"]) == -1
        assert set(host.refused) == {403}
        assert (host.texts(), host.chats()) == ([], 1)


def test_those_forms_would_succeed_without_the_guard(contexts: Contexts) -> None:
    """What that test sends is an attack: a host that calls its cookie a token falls to it."""
    with Host(ambient=False) as host, tab(contexts, host, "127.0.0.1") as page:
        for form in ("trick", "plain"):
            submit(page, host, "127.0.0.1", "localhost", form)
        assert (host.texts(), host.chats()) == (["forged"], 2)


@pytest.mark.parametrize("own", ["127.0.0.1", HOST])
def test_scripts_of_the_hosts_own_page_may_write(own: str, contexts: Contexts) -> None:
    with Host(own) as host, tab(contexts, host, own) as page:
        for label, status in (("application/json", 201), ("text/plain", 415)):
            assert page.evaluate(FETCH, [SEND, "same-origin", label]) == status
        assert host.texts() == ["by script"]
