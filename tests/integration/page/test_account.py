"""Blocks and account management on the page."""

import json
import re

from tests.integration.page.people import PASSWORD, People, until
from tests.integration.page.test_looks import violations

NEW_PASSWORD = "staple of batteries"


def test_blocked_user_cannot_write_and_sees_no_reason(people: People) -> None:
    ann, bob = people.pair()
    bob.expected = re.compile("status of 404")
    block = ann.page.get_by_role("button", name="Block", exact=True)
    question = ann.page.get_by_role("group", name=f"Block {bob.name}?")
    block.click()
    assert violations(ann.page) == []
    ann.page.keyboard.press("Escape")
    question.wait_for(state="hidden")
    block.press("Enter")
    ann.page.keyboard.press("Enter")
    ann.page.get_by_text(f"You blocked {bob.name}.").wait_for()
    ann.box(bob).wait_for(state="hidden")
    assert violations(ann.page) == []
    bob.write(ann, "are you there?")
    failed = bob.page.locator(".message.failed")
    failed.get_by_text("Could not be delivered").wait_for()
    bob.page.reload()
    failed.wait_for()
    ann.page.reload()
    # Coming online fetches the list of blocks, which replaces an earlier answer.
    ann.online()
    ann.page.get_by_role("button", name="Unblock").press("Enter")
    # The focus is in the box for the next message.
    ann.box(bob).wait_for()
    until(ann.page, lambda: ann.page.evaluate("document.activeElement.tagName"), "TEXTAREA".__eq__)
    failed.get_by_role("button", name="Try again").click()
    ann.sees(["are you there?"])
    bob.wait_for_marks("read", 1)
    assert bob.shown() == ["are you there?"]
    sent = [each for each in bob.requests if each.method == "POST" and "/messages" in each.url]
    assert len(sent) == 2


def test_password_change_and_logout_everywhere_reach_other_devices(people: People) -> None:
    ann = people.signed_in()
    device = people.person(ann.name, registered=False)
    device.sign_in()
    device.online()
    ann.expected = device.expected = re.compile("status of 40[13]")
    page = ann.page
    page.get_by_role("button", name="Account").click()
    page.get_by_text("Change password").first.click()
    current, new = page.get_by_label("Current password"), page.get_by_label("New password")
    change = page.get_by_role("button", name="Change password")
    current.fill("a wrong one")
    new.fill(NEW_PASSWORD)
    change.click()
    page.get_by_text("This is not your password.").wait_for()
    assert violations(page) == []
    current.fill(PASSWORD)
    change.click()
    page.get_by_text("The password is changed.").wait_for()
    page.get_by_role("button", name="Close").click()
    ann.online()
    again = device.page.get_by_role("dialog", name="Still there?")
    again.get_by_label("Password of").fill(NEW_PASSWORD)
    again.get_by_role("button", name="Continue").click()
    device.online()
    device.page.get_by_role("button", name="Account").click()
    device.page.get_by_role("button", name="Sign out everywhere").click()
    device.page.get_by_label("Name", exact=True).wait_for()
    page.get_by_role("dialog", name="Still there?").wait_for()


def test_lost_device_is_signed_out_from_another(people: People) -> None:
    ann = people.signed_in()
    lost = people.person(ann.name, registered=False)
    lost.sign_in()
    lost.online()
    lost.expected = re.compile("status of 401")
    page = ann.page
    page.get_by_role("button", name="Account").click()
    page.get_by_text("Devices").click()
    page.get_by_text("this device").wait_for()
    assert violations(page) == []
    page.get_by_role("button", name="Sign out Chrome, Linux").click()
    lost.page.get_by_role("dialog", name="Still there?").wait_for()
    until(page, lambda: page.locator(".devices li").count(), (1).__eq__)
    page.get_by_role("button", name="Close").click()
    ann.online()


def test_account_can_be_exported_and_erased(people: People) -> None:
    ann, bob = people.pair()
    bob.expected = re.compile("status of 404")
    ann.write(bob, "farewell")
    ann.wait_for_marks("read", 1)
    ann.page.get_by_role("button", name="Account").click()
    with ann.page.expect_download() as download:
        ann.page.get_by_role("button", name="Download my data").click()
    lines = [json.loads(line) for line in download.value.path().read_text("utf-8").splitlines()]
    assert [line["type"] for line in lines] == ["user", "session", "chat", "message", "end"]
    ann.page.get_by_text("Delete account").click()
    ann.page.get_by_label(f"Password of {ann.name}").fill(PASSWORD)
    ann.page.get_by_role("button", name="Delete for good").click()
    ann.page.get_by_label("Name", exact=True).wait_for()
    assert ann.page.evaluate("localStorage.length") == 0
    bob.write(ann, "wait!")
    bob.page.get_by_text("Could not be delivered").wait_for()
    bob.page.reload()
    bob.page.get_by_role("heading", name=re.compile("^deleted user ")).wait_for()
    bob.sees(["farewell", "wait!"])


def test_login_limit_shows_how_long_to_wait(people: People) -> None:
    ann = people.person()
    ann.expected = re.compile("status of 429")
    ann.context.route(
        "**/v1/sessions",
        lambda route: route.fulfill(status=429, headers={"retry-after": "7"}, json={"error": ""}),
    )
    ann.sign_in()
    alert = ann.page.get_by_role("alert")
    alert.get_by_text("Too many attempts. Try again in 7 seconds.", exact=True).wait_for()
    assert [each.url.rpartition("/")[2] for each in ann.requests].count("sessions") == 1
