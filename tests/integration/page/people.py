"""People at their browsers."""

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from tests.support.clients import client_at
from tests.support.service import Service

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request

HOST = "chat.test"
"""Another name of this machine that browsers do not treat as local: over plain HTTP it is an
insecure context."""
MACHINE = {"127.0.0.1", HOST}
PASSWORD = "correct horse battery"
SECONDS = 300  # A wait this long means that the event never comes.

OWN: dict[str, Any] = {"locale": "en-GB"}

T = TypeVar("T")

_numbers = count(1)


def until(page: "Page", read: Callable[[], T], holds: Callable[[T], bool]) -> T:
    """The first reading for which `holds` is true. Fails after SECONDS."""
    deadline = time.monotonic() + SECONDS
    while not holds(value := read()):
        assert time.monotonic() < deadline, f"it stayed at {value!r}"
        page.wait_for_timeout(50)  # Playwright handles the browser's events during this wait.
    return value


class Contexts:
    """The contexts of a browser, each equivalent to a separate browser.

    A returned context is emptied and reused by another person: it keeps its process and the cached
    files of the page.
    """

    def __init__(self, browser: "Browser") -> None:
        self._browser = browser
        self._free: list[BrowserContext] = []

    def take(self, **options: Any) -> "BrowserContext":
        """A context to give back; with options, a context to close."""
        return self._free.pop() if self._free and not options else self._new(**options)

    def give_back(self, context: "BrowserContext", url: str) -> None:
        """Close all its pages but the first, and clear what they stored for the service."""
        anchor, *pages = context.pages
        for page in pages:
            page.close()
        context.unroute_all(behavior="ignoreErrors")
        context.set_offline(False)
        anchor.goto(f"{url}healthz")
        anchor.evaluate("localStorage.clear()")
        self._free.append(context)

    def _new(self, **options: Any) -> "BrowserContext":
        context = self._browser.new_context(**OWN | options)
        context.set_default_timeout(SECONDS * 1000)
        context.add_init_script(
            "addEventListener('securitypolicyviolation', (event) =>"
            " console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"
        )
        if not options:
            context.new_page()  # The process lives as long as it has a page.
        return context


class Person:
    """A user with an account, seen through the API, and with tabs in a browser."""

    def __init__(self, people: "People", name: str, options: dict[str, Any]) -> None:
        self._people = people
        self._options = options
        self.name = name
        self.expected = re.compile(r"(?!)")
        """The complaints that are allowed to the browser."""
        self.complaints: list[str] = []
        self.requests: list[Request] = []

    # Through the browser, which opens on first use

    @cached_property
    def context(self) -> "BrowserContext":
        return self._people.contexts.take(**self._options)

    @cached_property
    def page(self) -> "Page":
        return self.tab()

    def close(self) -> None:
        if "context" not in self.__dict__:
            return
        if self._options:
            self.context.close()
        else:
            self._people.contexts.give_back(self.context, self._people.url)

    def tab(self) -> "Page":
        page = self.context.new_page()
        page.on("request", lambda request: self.requests.append(request))
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"{error}"))
        return page

    def sign_in(self, password: str = PASSWORD) -> None:
        self.page.goto(self._people.url)
        self.page.get_by_label("Name", exact=True).fill(self.name)
        self.page.get_by_label("Password", exact=True).fill(password)
        with self.page.expect_response("**/v1/sessions") as answer:
            self.page.get_by_role("button", name="Sign in").click()
        if answer.value.ok:  # Another login for `token` would cost another hash.
            self.token = answer.value.json()["token"]

    def online(self, page: "Page | None" = None) -> None:
        """Wait until the page is in step with the service."""
        (page or self.page).locator(".status.online").wait_for()

    def status(self) -> "Locator":
        return self.page.locator(".status")

    def open(self, peer: "Person", page: "Page | None" = None) -> None:
        page = page or self.page
        page.locator("nav a", has=page.get_by_text(peer.name, exact=True)).click()
        self.box(peer, page).wait_for()

    def box(self, peer: "Person", page: "Page | None" = None) -> "Locator":
        return (page or self.page).get_by_label(f"Message to {peer.name}", exact=True)

    def write(self, peer: "Person", *texts: str) -> None:
        for text in texts:
            self.box(peer).fill(text)
            self.page.get_by_role("button", name="Send").click()

    def bubbles(self, text: str | None = None, page: "Page | None" = None) -> "Locator":
        found = (page or self.page).locator(".message")
        if text is None:
            return found
        exact = re.compile(f"^{re.escape(text)}$")
        return found.filter(has=(page or self.page).locator(".text", has_text=exact))

    def shown(self, page: "Page | None" = None) -> list[str]:
        """The texts of the messages, top to bottom."""
        return (page or self.page).locator(".message .text").all_text_contents()

    def sees(self, texts: list[str], page: "Page | None" = None) -> None:
        """Wait until these are the messages, top to bottom."""
        page = page or self.page
        until(page, lambda: self.shown(page), texts.__eq__)

    def wait_for_marks(self, mark: str, number: int) -> None:
        self._wait_for(f".message.{mark}", number)

    def wait_for_messages(self, number: int) -> None:
        self._wait_for(".message", number)

    def _wait_for(self, selector: str, number: int) -> None:
        # A function: the policy of the page forbids the repeated evaluation of an expression.
        self.page.wait_for_function(
            "([selector, number]) => document.querySelectorAll(selector).length === number",
            arg=[selector, number],
        )

    # Through the API

    def api(self, method: str, path: str, **options: Any) -> Any:
        return self._people.api(method, path, self.token, **options)

    @cached_property
    def token(self) -> str:
        body = {"username": self.name, "password": PASSWORD}
        token: str = self._people.api("POST", "/login", json=body)["token"]
        return token

    def send(self, peer: "Person", *texts: str) -> None:
        for text in texts:
            self.api("POST", f"/chats/{quote(peer.name, safe='')}/messages", json={"message": text})

    def send_at_once(self, peer: "Person", *texts: str) -> None:
        """Send in no particular order."""
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda text: self.send(peer, text), texts))

    def history(self, peer: "Person") -> list[tuple[str, str]]:
        """The stored messages as senders and texts."""
        items = self.api("GET", f"/chats/messages/{quote(peer.name, safe='')}")
        return [(item["sender"], item["message"]) for item in items]

    def chat_id(self, peer: "Person") -> int:
        chats = self.api("GET", "/chats")
        found: int = next(chat["chat_id"] for chat in chats if chat["user"] == peer.name)
        return found

    def _console(self, message: "ConsoleMessage") -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def faults(self) -> Iterator[str]:
        """Unexpected complaints, and requests to other hosts."""
        for complaint in self.complaints:
            if not self.expected.search(complaint):
                yield f"{self.name}: {complaint}"
        for request in self.requests:
            parts = urlsplit(request.url)
            if parts.port != urlsplit(self._people.url).port or parts.hostname not in MACHINE:
                yield f"{self.name} asked {request.url}"
            if "eyJ" in request.url:  # Every token begins like this.
                yield f"{self.name} has a token in {request.url}"


class People:
    def __init__(self, contexts: Contexts, service: Service) -> None:
        self.contexts = contexts
        self.url = service.url + "/"
        self._client = client_at(service.url)
        self._all: list[Person] = []

    def api(self, method: str, path: str, token: str | None = None, **options: Any) -> Any:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        answer = self._client.request(method, path, headers=headers, **options)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        return json.loads(answer.content)

    def person(self, name: str = "", *, registered: bool = True, **options: Any) -> Person:
        """A user with a unique name and an account, at a blank page.

        The options are those of a browser context that no other person uses. Pass OWN for a test
        that
        leaves a clock, scripts or listeners in it.
        """
        person = Person(self, name or f"person {next(_numbers)}", options)
        self._all.append(person)
        if registered:
            self.api("POST", "/register", json={"username": person.name, "password": PASSWORD})
        return person

    def signed_in(self, name: str = "", **options: Any) -> Person:
        person = self.person(name, **options)
        person.sign_in()
        person.online()
        return person

    def pair(self, **options: Any) -> tuple[Person, Person]:
        """Two signed-in users with a chat, open on both screens."""
        ann, bob = self.signed_in(**options), self.signed_in(**options)
        ann.api("POST", f"/chat/{quote(bob.name)}")
        ann.open(bob)
        bob.open(ann)
        return ann, bob

    def leave(self) -> None:
        """Close every browser. Fails with their complaints."""
        faults: list[str] = []
        for person in self._all:
            person.close()
            faults += person.faults()
        self._client.close()
        assert not faults, faults
