"""Two people chat on the page."""

import asyncio
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from chatcore.names import UserName
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.integration.page.people import OWN, PASSWORD, SECONDS, People, until
from tests.support.service import Service
from tests.support.soak import SOAK, soak_only

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route


def test_new_user_registers_signs_out_and_signs_in(people: People) -> None:
    taken, ann = people.person(), people.person("newcomer", registered=False)
    ann.expected = re.compile("status of 40[03]")
    page = ann.page
    page.goto(people.url)
    page.get_by_role("button", name="Create account").click()
    name, password = (page.get_by_label(each, exact=True) for each in ("Name", "Password"))
    create = page.get_by_role("button", name="Create account")
    refused = "This name is taken, or the name or the password cannot be used. Try others."
    for typed, secret, words in [
        (ann.name, "short", "The password needs at least 8 characters."),
        (taken.name, PASSWORD, refused),
        ("a/b", PASSWORD, refused),
    ]:
        name.fill(typed)
        password.fill(secret)
        create.click()
        page.get_by_role("alert").get_by_text(words, exact=True).wait_for()
    name.fill(ann.name)
    password.fill(PASSWORD)
    create.click()
    ann.online()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in").wait_for()
    assert page.evaluate("localStorage.length") == 0
    ann.sign_in("a wrong password")
    page.get_by_role("alert").get_by_text("The name or the password is wrong.").wait_for()
    ann.sign_in()
    ann.online()
    # The name appears as registered, however it is typed.
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Name", exact=True).fill("NEWCOMER")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="newcomer", exact=True).wait_for()


def test_two_people_chat_and_see_read_marks(people: People) -> None:
    ann, bob = people.signed_in(), people.signed_in()
    start = ann.page.get_by_label("Name of a person")
    start.fill("nobody by this name")
    start.press("Enter")
    ann.expected = re.compile("status of 4(03|04|22)")
    ann.page.get_by_text("No user has this name.").wait_for()
    start.fill(ann.name)
    start.press("Enter")
    ann.page.get_by_text("This is your own name.").wait_for()
    # The policy of a host refuses with a code of its own.
    problem = {"status": 403, "code": "acme_no_order"}
    ann.context.route("**/chat", lambda route: route.fulfill(status=403, json=problem), times=1)
    start.fill(bob.name)
    start.press("Enter")
    ann.page.get_by_text("You may not start a chat with this person.").wait_for()
    start.fill(bob.name.upper())
    start.press("Enter")
    ann.write(bob, "Hello Bob!", "How are you?")
    ann.wait_for_marks("sent", 2)
    # Bob has not read it: a badge and the title show that.
    unread = bob.page.get_by_role("link", name=ann.name)
    unread.get_by_text("2 unread messages").wait_for(state="attached")
    until(bob.page, bob.page.title, "(2) chatcore".__eq__)
    bob.open(ann)
    bob.page.get_by_text("New messages").wait_for()
    bob.sees(["Hello Bob!", "How are you?"])
    ann.wait_for_marks("read", 2)
    unread.get_by_text("2 unread messages").wait_for(state="detached")
    until(bob.page, bob.page.title, "chatcore".__eq__)
    bob.write(ann, "Fine, thanks.\nAnd you?")
    ann.bubbles("Fine, thanks.\nAnd you?").wait_for()
    bob.wait_for_marks("read", 1)
    expected = [(ann.name, "Hello Bob!"), (ann.name, "How are you?")]
    assert ann.history(bob) == [*expected, (bob.name, "Fine, thanks.\nAnd you?")]
    at = ann.page.locator(".message time").first
    assert re.fullmatch(r"\d?\d:\d\d", at.inner_text())
    assert ann.page.locator(".day").all_text_contents() == ["Today"]


def test_two_users_of_one_name_are_told_apart(people: People) -> None:
    """By their handles. A later message shows the peer's new name."""
    ann, bob = people.person(), people.person()
    ann.api("POST", f"/chat/{quote(bob.name)}")
    bob.send(ann, "hello")

    def rename(route: "Route") -> None:
        answer = route.fetch()
        body = answer.text()
        for key in ("user", "sender"):
            body = body.replace(f'"{key}":"{bob.name}"', f'"{key}":"{ann.name}"')
        route.fulfill(response=answer, body=body)

    for path in ("**/v1/sync", "**/v1/chats/**"):
        ann.context.route(path, rename)
    ann.sign_in()
    ann.online()
    ann.page.locator("nav a").filter(has_text=ann.name).click()
    ann.page.locator(".message.theirs").filter(has_text="hello").wait_for()
    for _ in range(2):
        ann.page.get_by_role("button", name="Block", exact=True).first.click()
    ann.page.get_by_text(f"You blocked {ann.name}.").wait_for()
    assert ann.api("GET", "/v1/blocks")["blocks"] == [{"user": bob.name, "handle": bob.name}]
    ann.page.get_by_role("button", name="Unblock").click()
    ann.box(ann).wait_for()
    bob.send(ann, "I have a new name")
    ann.page.get_by_role("heading", name=bob.name, exact=True).wait_for()
    ann.page.locator("nav a").filter(has_text=bob.name).wait_for()
    assert ann.shown() == ["hello", "I have a new name"]


def test_reload_keeps_chat_draft_and_messages(people: People) -> None:
    ann, bob = people.pair()
    ann.write(bob, "sent before")
    ann.wait_for_marks("read", 1)
    ann.box(bob).fill("half a thou")
    ann.page.reload()
    ann.online()
    ann.bubbles("sent before").wait_for()
    assert ann.box(bob).input_value() == "half a thou"
    assert ann.box(bob).evaluate("box => box === document.activeElement")
    ann.box(bob).press_sequentially("ght")
    ann.box(bob).press("Enter")
    bob.bubbles("half a thought").wait_for()
    ann.page.reload()
    ann.bubbles("half a thought").wait_for()
    assert ann.box(bob).input_value() == ""


def test_double_send_stores_one_message(people: People) -> None:
    ann, bob = people.pair()
    ann.box(bob).fill("by two clicks")
    ann.page.get_by_role("button", name="Send").dblclick()
    ann.box(bob).fill("by two keys")
    ann.page.evaluate(
        """() => { const box = document.activeElement;
        for (let i = 0; i < 2; i++) box.dispatchEvent(
          new KeyboardEvent("keydown", {key: "Enter", bubbles: true, cancelable: true})) }"""
    )
    ann.box(bob).fill("   ")
    ann.box(bob).press("Enter")
    ann.write(bob, "the last")
    bob.bubbles("the last").wait_for()
    ann.wait_for_marks("read", 3)
    texts = ["by two clicks", "by two keys", "the last"]
    ann.sees(texts)
    bob.sees(texts)
    assert ann.history(bob) == [(ann.name, text) for text in texts]


def test_refused_message_can_be_retried_or_deleted(people: People) -> None:
    ann, bob = people.pair()
    ann.expected = re.compile("status of 422")
    refused = "\x1c\x1d"  # White space to the service, but not to browsers.
    ann.write(bob, refused, "in between")
    ann.bubbles("in between").and_(ann.page.locator(".read")).wait_for()
    failed = ann.page.locator(".message.failed")
    ann.page.reload()
    failed.get_by_role("button", name="Try again").click()
    failed.get_by_role("button", name="Delete").click()
    failed.wait_for(state="detached")
    ann.page.reload()
    ann.sees(["in between"])
    assert ann.history(bob) == [(ann.name, "in between")]


@soak_only
def test_text_that_is_too_long_stays_in_the_box(people: People) -> None:
    ann, bob = people.pair()
    ann.box(bob).fill("🙂" * 4098)
    ann.box(bob).press("Enter")
    ann.page.get_by_text("2 characters too many").wait_for()
    assert ann.shown() == []
    ann.box(bob).fill("🙂" * 4096)
    ann.box(bob).press("Enter")
    bob.bubbles("🙂" * 4096).wait_for()


def test_only_web_addresses_become_links(people: People) -> None:
    ann, bob = people.pair()
    links = {
        "see https://example.org/a_(b)?x=1#y, and more": "https://example.org/a_(b)?x=1#y",
        "(http://example.org)": "http://example.org/",
        "«https://пример.рф/путь».": "https://xn--e1afmkfd.xn--p1ai/%D0%BF%D1%83%D1%82%D1%8C",
    }
    others = [
        "javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "https://bank.example@evil.example/",
        "https://",
        "ftp://example.org vbscript:x file:///etc/passwd",
    ]
    ann.send(bob, *links, *others)
    bob.bubbles(others[-1]).wait_for()
    bob.sees([*links, *others])
    found = bob.page.locator(".text a")
    assert [each.get_attribute("href") for each in found.all()] == list(links.values())
    for each in found.all():
        assert each.get_attribute("rel") == "noopener noreferrer"
        assert each.get_attribute("target") == "_blank"


def in_view(page: "Page") -> tuple[str, float]:
    """The topmost fully visible message, and its position."""
    found = page.evaluate(
        """() => { const log = document.querySelector(".scroller").getBoundingClientRect();
        for (const row of document.querySelectorAll(".message")) {
          const {top} = row.getBoundingClientRect();
          if (top >= log.top) return [row.querySelector(".text").textContent, top];
        } }"""
    )
    return found[0], found[1]


def at_rest(page: "Page") -> tuple[str, float]:
    """The same, once nothing moves."""
    seen = [in_view(page)]

    def again() -> bool:
        seen.append(in_view(page))
        return seen[-1] == seen[-2]

    until(page, again, bool)
    return seen[-1]


def test_long_history_scrolls_without_a_jump(people: People) -> None:
    count = 500 if SOAK else 200
    ann, bob = people.signed_in(), people.signed_in()
    ann.api("POST", f"/chat/{bob.name}")
    ann.send_at_once(bob, *(f"message {n} {'and more ' * (n % 17)}".strip() for n in range(count)))
    texts = [text for _, text in ann.history(bob)]
    assert len(texts) == count
    ann.open(bob)
    ann.bubbles(texts[-1]).wait_for()
    page, log = ann.page, ann.page.locator(".scroller")
    assert len(ann.shown()) < 150
    below = "log => log.scrollHeight - log.scrollTop - log.clientHeight"
    until(page, lambda: log.evaluate(below), lambda pixels: pixels < 2)
    # Turn the wheel step by step: while older messages load above, the visible message stays in
    # place. Between a frame and the page's work before the next frame, no wheel event moves
    # anything.
    log.hover()
    page.evaluate(
        """() => { const log = document.querySelector(".scroller");
        let top, height; window.jumps = [];
        const look = () => [top, height] = [log.scrollTop, log.scrollHeight];
        const frame = () => { look(); requestAnimationFrame(frame); };
        frame();
        new MutationObserver(() => {
          const grown = log.scrollHeight - height, moved = log.scrollTop - top;
          if (Math.abs(moved - grown) > 2) window.jumps.push([grown, moved]);
          look();
        }).observe(log, {childList: true, subtree: true}); }"""
    )
    deadline = time.monotonic() + SECONDS
    while ann.bubbles().count() < count and time.monotonic() < deadline:
        page.mouse.wheel(0, -300)
    ann.sees(texts)
    assert page.evaluate("window.jumps") == []
    # Messages that arrive below move nothing either; a button leads to them.
    log.evaluate("log => log.scrollTo(0, 3000)")
    place = at_rest(page)
    bob.send(ann, "from below")
    ann.bubbles("from below").wait_for(state="attached")
    assert at_rest(page) == place
    page.get_by_role("button", name="To the newest messages").click()
    until(page, lambda: log.evaluate(below), lambda pixels: pixels < 2)
    bob.open(ann)
    bob.wait_for_marks("read", 1)


@soak_only
def test_chat_opens_at_the_first_unread_message(people: People) -> None:
    ann, bob = people.pair()
    ann.write(bob, "seen")
    ann.wait_for_marks("read", 1)
    bob.page.get_by_role("link", name=ann.name).wait_for()
    bob.page.goto("about:blank")
    ann.send(bob, "missed first")
    ann.send_at_once(bob, *(f"missed {n}" for n in range(90)))
    bob.page.goto(f"{people.url}#{bob.chat_id(ann)}")
    bob.page.get_by_text("New messages").wait_for()
    until(bob.page, lambda: in_view(bob.page)[0], "missed first".__eq__)
    badge = bob.page.locator(".badge")
    # Only the messages on the screen have been read.
    number = badge.locator("[aria-hidden]")
    until(bob.page, lambda: int(number.inner_text()), range(1, 91).__contains__)
    bob.page.get_by_role("button", name="To the newest messages").click()
    badge.wait_for(state="hidden")


def test_message_in_a_closed_chat_stays_unread(people: People) -> None:
    ann, bob = people.pair()
    cat = people.person()
    ann.write(bob, *(f"before {n}" for n in range(20)))
    ann.wait_for_marks("read", 20)
    ann.api("POST", f"/chat/{cat.name}")
    ann.open(cat)
    bob.send(ann, "missed first")
    bob.send_at_once(ann, *(f"missed {n}" for n in range(50)))
    badge = ann.page.get_by_role("link", name=bob.name).locator(".badge [aria-hidden]")
    badge.get_by_text("51", exact=True).wait_for()
    ann.open(bob)
    ann.page.get_by_text("New messages").wait_for()
    until(ann.page, lambda: in_view(ann.page)[0], "missed first".__eq__)
    until(ann.page, lambda: int(badge.inner_text()), range(1, 51).__contains__)


def test_visible_message_is_marked_read_when_the_page_closes(people: People) -> None:
    ann, bob = people.pair()
    chat = f"/v1/chats/{ann.chat_id(bob)}"
    held: list[Route] = []
    ann.context.route("**/read", lambda route: held.append(route), times=1)
    bob.send(ann, "first")
    until(ann.page, held.copy, bool)
    # The marker waits for the one before it.
    bob.send(ann, "second")
    ann.bubbles("second").wait_for()
    ann.page.goto("about:blank")
    until(ann.page, lambda: ann.api("GET", chat)["read_seq"], (2).__eq__)


async def befriend(database: Path, name: str, friends: list[str]) -> None:
    """Give a user many chats without hashing many passwords."""
    async with await SqlAlchemyStore.open(f"sqlite:///{database}") as store:
        user = await store.user_by_name(name)
        assert user is not None
        for number, friend in enumerate(friends):
            peer = await store.add_user(UserName(friend), "no hash", number)
            await store.open_chat(user.id, peer.id, number)


@soak_only
def test_chat_list_loads_further_pages_and_sorts_newest_first(
    own_people: People, own_service: Service
) -> None:
    ann, bob = own_people.person("ann"), own_people.person("bob")
    ann.api("POST", "/chat/bob")
    own_service.stop()
    friends = [f"friend {number}" for number in range(230)]
    with ThreadPoolExecutor() as thread:  # Playwright occupies the event loop of this thread.
        work = befriend(own_service.database_path, "ann", friends)
        thread.submit(asyncio.run, work).result()
    own_service.start()
    ann.sign_in()
    ann.online()
    names = ann.page.locator("nav .peer")
    expected = [*reversed(friends), "bob"]
    until(ann.page, names.all_text_contents, expected[:100].__eq__)
    ann.page.locator("nav").hover()
    deadline = time.monotonic() + SECONDS
    while names.count() < 231 and time.monotonic() < deadline:
        ann.page.mouse.wheel(0, 2000)
    until(ann.page, names.all_text_contents, expected.__eq__)
    bob.send(ann, "me first")
    ann.page.locator("nav li").first.get_by_text("me first").wait_for()
    until(ann.page, names.all_text_contents, ["bob", *reversed(friends)].__eq__)


CORPUS = [
    "<script>pwned()</script>",
    "<img src=x onerror=pwned()>",
    "<svg/onload=pwned()>",
    '"><img src=x onerror=pwned()>',
    "'-pwned()-'",
    "javascript:pwned()",
    'https://example.org/"onmouseover="pwned()',
    "https://example.org/<img src=x onerror=pwned()>",
    "{{constructor.constructor('pwned()')()}}",
    "${pwned()}",
    "</textarea></title><iframe srcdoc='<script>parent.pwned()</script>'>",
    '<math><mi//xlink:href="data:x,<script>pwned()</script>">',
    "&lt;img src=x onerror=pwned()&gt;",
    "\u202e<b>reversed</b>\u2066",
    "__proto__",
    "constructor",
]


@pytest.mark.parametrize(
    "as_name",
    [pytest.param(False, id="in messages"), pytest.param(True, id="in names", marks=soak_only)],
)
def test_texts_and_names_are_never_run_as_markup(people: People, as_name: bool) -> None:
    ann, bob = people.person(**OWN), people.person()
    ann.context.add_init_script("window.pwned = () => console.error('pwned')")
    ann.page.on("dialog", lambda dialog: ann.complaints.append(dialog.message))
    if as_name:
        hostile = [
            people.person(text) for text in CORPUS if "/" not in text and "\u202e" not in text
        ]
        assert len(hostile) >= 8
    else:
        hostile = [bob]
    for peer in hostile:
        from_peer = [peer.name] if as_name else CORPUS
        ann.api("POST", "/chat/" + quote(peer.name, safe=""))
        peer.send(ann, *from_peer)
    ann.sign_in()
    ann.online()
    for peer in hostile:
        ann.open(peer)
        expected = [peer.name] if as_name else CORPUS
        ann.sees(expected)
        ann.box(peer).fill(expected[0])
    ann.page.reload()
    ann.bubbles().first.wait_for()
    assert ann.page.locator("script").count() == 1
    assert ann.page.locator(":is(.app, dialog) :is(img, iframe, script, math)").count() == 0
