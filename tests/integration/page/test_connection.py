"""The page while the service, the network or the session is lost, and afterwards."""

import json
import re
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.integration.page.people import HOST, OWN, PASSWORD, SECONDS, People, Person, until
from tests.support.service import Service
from tests.support.soak import soak_only

if TYPE_CHECKING:
    from playwright.sync_api import APIResponse, Dialog, Page, Request, Response, Route

NETWORK = re.compile(r"net::ERR_|status of 50[23]")
UNAUTHORIZED = re.compile("status of 40[13]")


def test_page_recovers_from_a_restart_of_the_service(
    own_people: People, own_service: Service
) -> None:
    ann, bob = own_people.pair()
    ann.expected = bob.expected = NETWORK
    ann.write(bob, "before")
    ann.wait_for_marks("read", 1)
    own_service.stop()
    ann.write(bob, "while it is down", "and another")
    ann.wait_for_marks("pending", 2)
    bob.write(ann, "from the other side")
    ann.page.locator(".status.offline").wait_for()
    ann.page.locator(".pill").get_by_text("Offline. Trying again…").wait_for()
    ann.page.get_by_role("button", name="Try now").click()
    own_service.start()
    ann.online()
    bob.online()
    ann.wait_for_marks("read", 3)
    bob.wait_for_marks("read", 1)
    history = ann.history(bob)
    for person in (ann, bob):
        person.sees([text for _, text in history])
    assert [text for sender, text in history if sender == ann.name] == [
        "before",
        "while it is down",
        "and another",
    ]
    assert len(history) == 4


def test_page_catches_up_after_being_offline(people: People) -> None:
    ann, bob = people.pair()
    ann.expected = NETWORK
    ann.context.set_offline(True)
    ann.page.locator(".status.offline").wait_for()
    ann.write(bob, "from the tunnel")
    ann.wait_for_marks("pending", 1)
    missed = [f"missed {n}" for n in range(120)]
    bob.send_at_once(ann, *missed)
    ann.context.set_offline(False)
    ann.online()
    ann.wait_for_marks("read", 1)
    # If the own message is faster than those missed, a gap parts it from what came before: what
    # lies in it comes as ann scrolls.
    ann.page.locator(".scroller").hover()

    def scroll() -> int:
        ann.page.mouse.wheel(0, -300)
        return ann.bubbles().count()

    until(ann.page, scroll, (121).__eq__)
    ann.sees([text for _, text in ann.history(bob)])
    assert sorted(ann.shown()) == sorted([*missed, "from the tunnel"])
    bob.bubbles("from the tunnel").wait_for()


def test_lost_answer_leads_to_no_second_message(people: People) -> None:
    ann, bob = people.pair()
    ann.expected = NETWORK

    def lose_the_answer(route: "Route") -> None:
        route.fetch(timeout=SECONDS * 1000)
        route.abort()

    ann.context.route("**/messages", lose_the_answer, times=1)
    ann.write(bob, "once", "twice is not")
    ann.wait_for_marks("read", 2)
    ann.sees(["once", "twice is not"])
    bob.sees(["once", "twice is not"])
    assert [text for _, text in ann.history(bob)] == ["once", "twice is not"]


@soak_only
def test_failed_read_marker_is_retried(people: People) -> None:
    ann, bob = people.pair()
    bob.expected = NETWORK
    bob.context.route("**/read", lambda route: route.abort(), times=1)
    ann.write(bob, "once")
    ann.wait_for_marks("read", 1)


@soak_only
def test_late_answer_shows_no_message_twice(people: People) -> None:
    ann, bob = people.pair()
    held: list[tuple[Route, APIResponse]] = []
    ann.context.route(
        "**/messages",
        lambda route: held.append((route, route.fetch(timeout=SECONDS * 1000))),
        times=1,
    )
    ann.write(bob, "once")
    # The event arrives before the answer.
    ann.wait_for_marks("read", 1)
    assert ann.shown() == ["once"]
    [(route, answer)] = until(ann.page, held.copy, bool)
    route.fulfill(response=answer)
    ann.write(bob, "next")
    ann.wait_for_marks("read", 2)
    ann.sees(["once", "next"])


def test_reload_sends_waiting_messages(people: People) -> None:
    ann, bob = people.pair()
    ann.expected = NETWORK
    away = [True]
    ann.context.route(
        "**/messages", lambda route: route.abort() if any(away) else route.continue_()
    )
    texts = ["first", "second", "third"]
    ann.write(bob, *texts)
    ann.wait_for_marks("pending", 3)
    away.clear()
    ann.page.reload()
    ann.wait_for_marks("read", 3)
    ann.sees(texts)
    bob.sees(texts)
    assert [text for _, text in ann.history(bob)] == texts


def test_expired_session_asks_for_the_password_in_place(
    own_people: People, own_service: Service
) -> None:
    ann, bob = own_people.pair()
    ann.expected = bob.expected = re.compile(f"{NETWORK.pattern}|{UNAUTHORIZED.pattern}")
    other = ann.tab()
    other.goto(ann.page.url)
    ann.box(bob, other).fill("a draft")
    own_service.stop()
    ann.write(bob, "unsent")
    ann.wait_for_marks("pending", 1)
    ann.box(bob).fill("a thought")
    end_all_sessions(own_service)
    own_service.start()
    dialog = ann.page.get_by_role("dialog", name="Still there?")
    dialog.wait_for()
    other.get_by_role("dialog").wait_for()
    for _ in range(2):
        ann.page.keyboard.press("Escape")
    password = dialog.get_by_label(f"Password of {ann.name}")
    password.fill("a wrong one")
    password.press("Enter")
    dialog.get_by_text("The name or the password is wrong.").wait_for()
    # A reload also keeps it all.
    ann.page.reload()
    password.fill(PASSWORD)
    dialog.get_by_role("button", name="Continue").click()
    dialog.wait_for(state="detached")
    other.get_by_role("dialog").wait_for(state="detached")
    ann.online()
    ann.online(other)
    ann.wait_for_marks("sent", 1)
    assert ann.box(bob).input_value() == "a thought"
    assert ann.box(bob, other).input_value() == "a draft"
    bob.page.get_by_label(f"Password of {bob.name}").fill(PASSWORD)
    bob.page.get_by_role("button", name="Continue").click()
    ann.wait_for_marks("read", 1)
    del ann.token
    assert ann.history(bob) == [(ann.name, "unsent")]


def end_all_sessions(service: Service) -> None:
    """End every session of a service that is stopped."""
    with closing(sqlite3.connect(service.database_path)) as connection, connection:
        connection.execute("DELETE FROM sessions")


def test_session_is_renewed_in_all_tabs_without_a_question(
    own_people: People, own_service: Service
) -> None:
    ann, bob = own_people.pair()
    ann.expected = bob.expected = re.compile(f"{NETWORK.pattern}|{UNAUTHORIZED.pattern}")
    other = ann.tab()
    other.goto(ann.page.url)
    ann.online(other)
    before = ann.page.evaluate("localStorage.chatcore")
    own_service.stop()
    ann.write(bob, "unsent")
    ann.wait_for_marks("pending", 1)
    # With another key, the access tokens are invalid, as they are when they have expired.
    own_service.settings["secret"] = "another secret of at least 32 bytes"
    own_service.start()
    ann.wait_for_marks("read", 1)
    ann.online()
    ann.online(other)
    bob.online()
    for page in (ann.page, other, bob.page):
        assert page.get_by_role("dialog").count() == 0
    after = [json.loads(text) for text in (before, ann.page.evaluate("localStorage.chatcore"))]
    assert after[0]["sessionId"] == after[1]["sessionId"]
    assert after[0]["refresh"] != after[1]["refresh"]
    del ann.token
    [session] = ann.api("GET", "/v1/me/sessions")["sessions"]
    assert session["session_id"] == after[1]["sessionId"]


def test_signing_out_ends_the_session(people: People) -> None:
    ann = people.signed_in()
    stored = json.loads(ann.page.evaluate("localStorage.chatcore"))
    with ann.page.expect_request("**/v1/me/sessions/*") as ended:
        ann.page.get_by_role("button", name="Sign out").click()
    assert ended.value.url.endswith(stored["sessionId"])
    ann.page.get_by_label("Name", exact=True).wait_for()
    del ann.token
    until(ann.page, lambda: ann.api("GET", "/v1/me/sessions")["sessions"], [].__eq__)


def test_signing_out_ends_a_session_whose_token_has_expired(people: People) -> None:
    ann = people.signed_in()
    ann.expected = UNAUTHORIZED
    ann.online()
    spoil_token(ann)
    ann.page.get_by_role("button", name="Sign out").click()
    ann.page.get_by_label("Name", exact=True).wait_for()
    assert ann.page.evaluate("localStorage.length") == 0
    del ann.token
    until(ann.page, lambda: ann.api("GET", "/v1/me/sessions")["sessions"], [].__eq__)


def test_signing_out_does_not_wait_for_a_service_that_is_silent(people: People) -> None:
    ann = people.signed_in()
    ann.page.clock.install()
    ann.context.route("**/v1/me/sessions/*", lambda route: None)
    with ann.page.expect_request("**/v1/me/sessions/*"):
        ann.page.get_by_role("button", name="Sign out").click()
    ann.page.clock.fast_forward(3000)
    ann.page.get_by_label("Name", exact=True).wait_for()
    assert ann.page.evaluate("localStorage.length") == 0


def test_message_waits_while_the_session_cannot_be_renewed(people: People) -> None:
    ann, bob = people.pair()
    ann.expected = re.compile("status of 40[134]")
    ann.context.route("**/v1/sessions/renew", lambda route: route.fulfill(status=404))
    spoil_token(ann)
    with ann.page.expect_response("**/v1/sessions/renew"):
        ann.write(bob, "after all")
    ann.wait_for_marks("pending", 1)
    ann.context.unroute("**/v1/sessions/renew")
    ann.wait_for_marks("read", 1)
    bob.sees(["after all"])


def spoil_token(person: Person) -> None:
    """Replace the access token in all tabs by an invalid one, as if it had expired."""
    person.page.evaluate(
        "() => { window.heard = new Promise((hear) => addEventListener('storage', hear)) }"
    )
    other = person.context.new_page()
    other.goto(f"{person.page.url.partition('#')[0]}healthz")
    other.evaluate(
        """() => {
            const { token, ...rest } = JSON.parse(localStorage.chatcore);
            localStorage.chatcore = JSON.stringify({ ...rest, token: `${token}A` });
        }"""
    )
    person.page.evaluate("() => heard.then(() => true)")
    other.close()


def test_signing_out_clears_all_data_and_warns_of_unsent_messages(people: People) -> None:
    ann, bob = people.pair()
    ann.expected = NETWORK
    ann.context.route("**/messages", lambda route: route.abort())
    ann.write(bob, "never sent")
    ann.wait_for_marks("pending", 1)
    asked: list[str] = []

    def hesitate(dialog: "Dialog") -> None:
        asked.append(dialog.message)
        if len(asked) == 1:
            dialog.dismiss()
        else:
            dialog.accept()

    ann.page.on("dialog", hesitate)
    ann.page.get_by_role("button", name="Sign out").click()
    ann.wait_for_marks("pending", 1)
    ann.page.get_by_role("button", name="Sign out").click()
    ann.page.get_by_label("Name", exact=True).wait_for()
    assert asked == ["1 message has not been sent yet and will be deleted. Sign out?"] * 2
    assert ann.page.evaluate("localStorage.length") == 0
    del ann.token
    assert ann.history(bob) == []


class Streams:
    """The event streams that a browser holds."""

    def __init__(self, person: Person) -> None:
        self.open: list[Request] = []
        self.most = 0
        person.context.on("request", self._opened)
        person.context.on("requestfailed", self._closed)
        person.context.on("requestfinished", self._closed)

    def _opened(self, request: "Request") -> None:
        if "event-stream" in request.headers.get("accept", ""):
            self.open.append(request)
            self.most = max(self.most, len(self.open))

    def _closed(self, request: "Request") -> None:
        if request in self.open:
            self.open.remove(request)

    def forget_tab(self, page: "Page") -> None:
        """Drop the streams of a closed tab, whose end is not reported."""
        self.open = [each for each in self.open if each.frame.page != page]


def keep_tabs_in_step(ann: Person, bob: Person, url: str) -> Streams:
    """Three tabs of one account share a stream, and the leading tab closes."""
    streams = Streams(ann)
    ann.page.goto(url)
    ann.online()
    tabs = [ann.page, ann.tab(), ann.tab()]
    for tab in tabs[1:]:
        tab.goto(ann.page.url)
        ann.online(tab)
    ann.open(bob, tabs[1])
    bob.send(ann, "to all tabs")
    for tab in tabs:
        tab.locator("nav").get_by_text("to all tabs").wait_for()
    ann.bubbles("to all tabs", tabs[1]).wait_for()
    # Read in one tab, it is read in all.
    for tab in tabs:
        tab.locator(".badge").wait_for(state="hidden")
    ann.box(bob, tabs[1]).fill("from the second")
    ann.box(bob, tabs[1]).press("Enter")
    for tab in tabs:
        tab.locator("nav").get_by_text("from the second").wait_for()
    assert len(streams.open) == 1
    closing = tabs.pop(0)
    closing.close()
    streams.forget_tab(closing)
    bob.send(ann, "after the first has gone")
    for tab in tabs:
        tab.locator("nav").get_by_text("after the first has gone").wait_for()
        ann.online(tab)
    ann.open(bob, tabs[1])
    expected = ["to all tabs", "from the second", "after the first has gone"]
    for tab in tabs:
        ann.sees(expected, tab)
    until(tabs[0], lambda: len(streams.open), (1).__eq__)
    return streams


def test_tabs_share_one_stream(people: People) -> None:
    ann, bob = people.signed_in(**OWN), people.person()
    ann.api("POST", f"/chat/{bob.name}")
    ann.page.goto("about:blank")
    assert keep_tabs_in_step(ann, bob, people.url).most == 1


@soak_only
def test_tabs_share_one_stream_over_plain_http_to_another_machine(people: People) -> None:
    ann, bob = people.person(**OWN), people.person()
    ann.expected = re.compile("Cross-Origin-Opener-Policy")
    ann.api("POST", f"/chat/{bob.name}")
    people.url = people.url.replace("127.0.0.1", HOST)
    ann.sign_in()
    ann.online()
    assert ann.page.evaluate("[isSecureContext, !!navigator.locks]") == [False, False]
    keep_tabs_in_step(ann, bob, people.url)


@soak_only
def test_unknown_cursor_reloads_the_page_state(people: People) -> None:
    ann, bob = people.pair(**OWN)
    ann.expected = NETWORK
    bob.send(ann, "before")
    ann.bubbles("before").wait_for()
    ann.context.set_offline(True)
    ann.page.locator(".status.offline").wait_for()
    # More than one page: the earlier messages form a separate part of the conversation.
    bob.send_at_once(ann, *(f"missed {n}" for n in range(230)))
    answers: list[Response] = []

    def forget(route: "Route") -> None:
        # Until one request is answered: none is while the network is away.
        place = route.request.url if answers else re.sub("=[^&]*", "=lost", route.request.url)
        route.continue_(url=place)

    def heard(response: "Response") -> None:
        if "/v1/events" in response.url:
            answers.append(response)

    ann.context.on("response", heard)
    ann.context.route("**/v1/events*", forget)
    ann.context.set_offline(False)
    ann.online()
    ann.wait_for_messages(200)
    bob.send(ann, "and after")
    ann.bubbles("and after").wait_for()
    ann.sees([text for _, text in ann.history(bob)][-201:])


def test_silent_stream_is_replaced(own_people: People, own_service: Service) -> None:
    ann, bob = own_people.person("ann", **OWN), own_people.person("bob")
    ann.expected = NETWORK
    ann.page.clock.install()
    ann.api("POST", "/chat/bob")
    ann.sign_in()
    ann.online()
    own_service.process.send_signal(signal.SIGSTOP)
    try:
        ann.page.clock.fast_forward(60_000)
        ann.page.locator(".status:not(.online)").wait_for()
    finally:
        own_service.process.send_signal(signal.SIGCONT)
    ann.page.clock.fast_forward(60_000)
    ann.online()
    bob.send(ann, "still there")
    ann.page.locator("nav").get_by_text("still there").wait_for()


@soak_only
def test_replaced_stream_does_not_reconnect_at_once(people: People) -> None:
    ann, bob = people.person(**OWN), people.person()
    ann.page.clock.install()
    ann.api("POST", f"/chat/{bob.name}")
    end = 'data: {"type":"end","reason":"replaced"}\n\n'
    replaced: list[Route] = []

    def replace(route: "Route") -> None:
        if replaced or "event-stream" not in route.request.headers["accept"]:
            route.continue_()
        else:
            replaced.append(route)
            route.fulfill(content_type="text/event-stream", body=end)

    ann.context.route("**/v1/events*", replace)
    ann.sign_in()
    ann.page.locator(".pill.offline").get_by_role("button", name="Try now").wait_for()
    ann.page.clock.fast_forward(60_000)
    ann.online()
    bob.send(ann, "back")
    ann.page.locator("nav").get_by_text("back").wait_for()
