"""The page is usable by keyboard and screen reader, in the dark, on a phone and in Russian."""

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.page.people import OWN, PASSWORD, People, until
from tests.support.soak import soak_only

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

MOST_BYTES = 60 * 1024
SHIFT = 0.01  # A tenth of the limit for a good score.

SCREENS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True},
}


def violations(page: "Page") -> list[str]:
    """The violations that axe finds, best practices included."""
    if not page.evaluate("!!window.axe"):
        page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{rule['id']}: {rule['help']}: {node['target']} {node.get('failureSummary')}"
        for rule in found
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("screen", ["light", "dark", pytest.param("phone", marks=soak_only)])
def test_axe_finds_no_violations(people: People, screen: str) -> None:
    # Text that fades in has too little contrast at first.
    ann = people.person(**SCREENS[screen], reduced_motion="reduce")
    bob = people.person(f"Боб {list(SCREENS).index(screen)}")
    page = ann.page
    page.goto(people.url)
    page.get_by_role("button", name="Create account").click()
    page.get_by_role("button", name="Create account").wait_for()
    assert violations(page) == []
    ann.sign_in()
    ann.online()
    page.get_by_text("No chats yet").wait_for()
    assert violations(page) == []
    ann.api("POST", f"/chat/{bob.name}")
    bob.send(ann, "unread", "see https://example.org")
    page.get_by_text("2 unread messages").wait_for(state="attached")
    assert violations(page) == []
    ann.open(bob)
    ann.context.route("**/messages", lambda route: route.fulfill(status=422, json={"code": "x"}))
    ann.write(bob, "failed")
    ann.wait_for_marks("failed", 1)
    ann.context.route("**/messages", lambda route: route.fulfill(status=503))
    ann.write(bob, "pending")
    ann.wait_for_marks("pending", 1)
    assert violations(page) == []
    ann.expected = re.compile("status of (422|503)")
    page.evaluate(
        """() => { const session = JSON.parse(localStorage.chatcore);
        localStorage.chatcore = JSON.stringify({...session, expired: true}) }"""
    )
    page.reload()
    page.get_by_role("dialog").wait_for()
    assert violations(page) == []


def test_page_is_usable_by_keyboard_alone(people: People) -> None:
    ann, bob, cat = people.person(), people.person(), people.person()
    for peer in (bob, cat):
        ann.api("POST", f"/chat/{peer.name}")
        peer.send(ann, f"from {peer.name}")
    keys = ann.page.keyboard
    ann.page.goto(people.url)
    keys.type(ann.name)
    keys.press("Tab")
    keys.type(PASSWORD)
    keys.press("Enter")
    ann.online()
    # Top to bottom: the account, sign out, the name, its button, the chats.
    focused = "() => document.activeElement.ariaLabel || document.activeElement.innerText"
    order = []
    ann.page.locator("nav li").nth(1).wait_for()
    for _ in range(6):
        keys.press("Tab")
        order.append(ann.page.evaluate(focused))
    assert order[:4] == ["Account", "Sign out", "Name of a person", "Start a chat"]
    assert [cat.name in order[4], bob.name in order[5]] == [True, True]
    keys.press("ArrowUp")
    assert cat.name in ann.page.evaluate(focused)
    keys.press("ArrowDown")
    keys.press("Enter")
    ann.box(bob).wait_for()
    keys.type("one line")
    keys.press("Shift+Enter")
    keys.type("and another")
    keys.press("Enter")
    ann.bubbles("one line\nand another").wait_for()
    # The log can be scrolled; the box comes after it.
    keys.press("Shift+Tab")
    assert ann.page.evaluate(focused) == f"Messages with {bob.name}"
    keys.press("Escape")
    ann.box(bob).wait_for(state="detached")
    # The focus stays on its chat when the list is reordered.
    row = "() => document.activeElement.closest('nav li')?.innerText ?? ''"
    for peer in (cat, bob):
        peer.send(ann, f"{peer.name} to the top")
        ann.page.locator("nav li").first.get_by_text(f"{peer.name} to the top").wait_for()
        until(ann.page, lambda: ann.page.evaluate(row), lambda text: bob.name in text)
    # The focused element has a visible outline.
    outline = ann.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_arriving_messages_are_announced(people: People) -> None:
    ann, bob = people.pair()
    bob.send(ann, "can you hear me?")
    said = ann.page.locator("[aria-live=polite]").get_by_text(f"{bob.name}: can you hear me?")
    said.wait_for(state="attached")


@pytest.mark.parametrize(
    ("locale", "language", "words"),
    [
        ("ru-RU", "ru", {1: "1 непрочитанное сообщение", 3: "3 непрочитанных сообщения"}),
        ("en-US", "en", {1: "1 unread message", 3: "3 unread messages"}),
        pytest.param(
            "de-DE", "en", {1: "1 unread message", 3: "3 unread messages"}, marks=soak_only
        ),
    ],
)
def test_page_uses_the_language_of_the_browser(
    people: People, locale: str, language: str, words: dict[int, str]
) -> None:
    ann, bob = people.person(locale=locale), people.person()
    ann.api("POST", f"/chat/{bob.name}")
    ann.page.goto(people.url)
    assert ann.page.evaluate("document.documentElement.lang") == language
    labels = {"ru": ("Имя", "Пароль", "Войти"), "en": ("Name", "Password", "Sign in")}[language]
    ann.page.get_by_label(labels[0], exact=True).fill(ann.name)
    ann.page.get_by_label(labels[1], exact=True).fill(PASSWORD)
    ann.page.get_by_role("button", name=labels[2]).click()
    ann.online()
    sent = 0
    for number, text in words.items():
        bob.send(ann, *("hi" for _ in range(number - sent)))
        sent = number
        ann.page.get_by_text(text, exact=True).wait_for(state="attached")
    time = ann.page.locator("nav time").inner_text()
    assert ("M" in time) == (locale == "en-US")


def test_days_separate_the_messages(people: People) -> None:
    ann, bob = people.person(**OWN), people.person()
    ann.api("POST", f"/chat/{bob.name}")
    bob.send(ann, "of today")
    ann.sign_in()
    ann.online()
    now, year = ann.page.evaluate("[Date.now() / 1000, `${new Date().getFullYear()}`]")
    for days, day in [(0, "Today"), (1, "Yesterday"), (400, year)]:
        ann.page.clock.set_fixed_time(now + days * 86_400)
        ann.page.goto("about:blank")
        ann.page.goto(f"{people.url}#{ann.chat_id(bob)}")
        ann.bubbles("of today").wait_for()
        assert ann.page.locator(".day").inner_text().endswith(day)


def size(request: "Request") -> int:
    """Bytes of the answer that came over the network, once it is complete."""
    response = request.response()
    assert response is not None
    response.finished()
    return max(0, request.sizes()["responseBodySize"])  # Negative for a cached answer.


def test_loading_shifts_nothing_and_transfers_little(people: People) -> None:
    ann, bob = people.pair(**OWN)
    bob.send(ann, *(f"message {n}" for n in range(30)))
    ann.bubbles("message 29").wait_for()
    ann.context.add_init_script(
        """window.shift = 0;
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) window.shift += entry.value;
        }).observe({type: "layout-shift", buffered: true});"""
    )
    page = ann.tab()
    page.goto(ann.page.url)
    ann.bubbles("message 29", page).wait_for()
    ann.online(page)
    page.wait_for_load_state("load")
    assert page.evaluate("window.shift") < SHIFT
    fresh = people.person(**OWN)
    for least, most in [(10_000, MOST_BYTES), (0, 1000)]:
        fresh.requests.clear()
        fresh.page.goto(people.url, wait_until="load")
        # The files are cached for good: the second visit requests only the document.
        assert least <= sum(map(size, fresh.requests)) < most
        fresh.page.goto("about:blank")


def test_phone_shows_the_list_or_one_chat(people: People) -> None:
    ann, bob = people.person(**SCREENS["phone"]), people.person()
    ann.api("POST", f"/chat/{bob.name}")
    ann.sign_in()
    ann.online()
    page = ann.page
    assert page.locator(".pane").is_hidden()
    ann.open(bob)
    assert page.locator(".sidebar").is_hidden()
    # Enter inserts a line break there, as on every touch keyboard.
    ann.box(bob).fill("two")
    ann.box(bob).press("Enter")
    ann.box(bob).press_sequentially("lines")
    page.get_by_role("button", name="Send").tap()
    ann.bubbles("two\nlines").wait_for()
    page.get_by_role("link", name="Back to the chats").tap()
    page.locator(".sidebar").wait_for()
    page.go_back()
    ann.box(bob).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_reduced_motion_disables_animation(people: People) -> None:
    ann = people.signed_in(reduced_motion="reduce")
    moving = ann.page.evaluate("document.getAnimations().length")
    assert moving == 0
    name = ann.page.evaluate("getComputedStyle(document.querySelector('.pill')).animationName")
    assert name == "none"
