"""Make docs/images from the running service: python -m docs.screenshots

Needs Chromium (apt install chromium) and the packages of the tests.
"""

import asyncio
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, sync_playwright

from chatcore import Accounts, Messenger
from chatcore_argon2 import Argon2Hasher
from chatcore_jwt import JwtTokens
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.service import Service

IMAGES = Path(__file__).parent / "images"
SECRET = "a secret for pictures and nothing else"  # noqa: S105
PASSWORD = "correct horse battery"  # noqa: S105

NOW = datetime(2026, 3, 14, 9, 41, tzinfo=UTC)

DESKTOP: Any = {"viewport": {"width": 1120, "height": 700}}
PHONE: Any = {"viewport": {"width": 390, "height": 760}, "has_touch": True, "is_mobile": True}

OTHERS = [  # the sender, minutes ago, the text
    ("Kenji", 2900, "The slides are ready. See you on Monday!"),
    ("Мария Орлова", 1610, "Спасибо, всё получила"),
    ("Priya N.", 1490, "Could you send me the address again?"),
    ("Lucas Moreau", 320, "Merci beaucoup, à demain !"),
    ("Zoë Martin", 55, "Are we still on for lunch?"),
]
TALK = [  # minutes ago, whether Ann is the sender, the text
    (1500, True, "Hi Bob! Did you get the train tickets?"),
    (1498, False, "Yes, both of them. We leave at 9:40, platform 4."),
    (1497, False, "It is a two-hour ride, so bring a book."),
    (1496, True, "Perfect, I have just the one."),
    (48, False, "Good morning! The weather looks great for the walk."),
    (47, False, "Here is the map: https://example.org/walks/lake"),
    (
        45,
        True,
        "Lovely. Let’s take the long way around the lake, and stop at the café on the way back.",
    ),
    (44, True, "I’ll bring the thermos in case it is closed."),
    (12, False, "Deal. Meet you at the station at half past ten?"),
    (1, True, "I’ll be there at half past ten, under the big clock."),
]


class Past:
    """A clock that shows a settable number of minutes before NOW."""

    def __init__(self) -> None:
        self.minutes = 10_000

    def __call__(self) -> datetime:
        return NOW - timedelta(minutes=self.minutes)


async def furnish(database: Path) -> None:
    past = Past()
    async with (
        await SqlAlchemyStore.open(f"sqlite:///{database}") as store,
        Argon2Hasher() as hasher,
    ):
        accounts = Accounts(store, hasher, JwtTokens(SECRET), clock=past)
        messenger = Messenger(store, clock=past)
        ann = await accounts.register("Ann Lee", PASSWORD)
        bob = await accounts.register("Bob", PASSWORD)
        for name, past.minutes, text in OTHERS:
            other = await accounts.register(name, PASSWORD)
            chat = await messenger.open_chat(other, ann)
            await messenger.send(other, chat, text)
            if name not in {"Zoë Martin", "Lucas Moreau"}:
                await messenger.mark_read(ann, chat, 1)
        past.minutes = 2000
        chat = await messenger.open_chat(ann, bob)
        for past.minutes, mine, text in TALK:
            message = await messenger.send(ann if mine else bob, chat, text)
        past.minutes = 0
        for reader in (ann, bob):
            await messenger.mark_read(reader, chat, message.seq - 1)


def sign_in(browser: Browser, url: str, scheme: Literal["light", "dark"], options: Any) -> Page:
    page = browser.new_page(locale="en-GB", color_scheme=scheme, timezone_id="UTC", **options)
    page.clock.set_fixed_time(NOW)
    page.goto(url)
    page.get_by_label("Name", exact=True).fill("Ann Lee")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.locator(".status.online").wait_for()
    return page


def open_bob(page: Page) -> None:
    page.get_by_role("link", name="Bob").click()
    page.locator(".message").last.wait_for()


def main() -> None:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(furnish(folder / "chatcore.db"))
        with Service(folder, secret=SECRET) as service, sync_playwright() as playwright:
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=program, args=arguments)
            page = sign_in(browser, service.url, "light", DESKTOP)
            open_bob(page)
            page.screenshot(path=IMAGES / "light.png")
            page = sign_in(browser, service.url, "dark", DESKTOP)
            open_bob(page)
            page.screenshot(path=IMAGES / "dark.png")
            page = sign_in(browser, service.url, "light", PHONE)
            page.screenshot(path=IMAGES / "phone-chats.png")
            open_bob(page)
            page.screenshot(path=IMAGES / "phone.png")
            browser.close()


if __name__ == "__main__":
    main()
