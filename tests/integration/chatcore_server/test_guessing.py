"""A client that guesses passwords at full speed keeps no other client from logging in."""

import asyncio
import statistics
import time
from pathlib import Path

import httpx

from tests.support.api import PASSWORD, SOAK, Api, api_at
from tests.support.figures import Figures
from tests.support.service import QuickService, Service

ATTACKER = "203.0.113.66"
CONNECTIONS = 16 if SOAK else 4
LOGINS = 200 if SOAK else 3
PAUSE = 0 if SOAK else 0.02
"""Seconds between two guesses of a connection: the short run leaves the machine to others."""


async def post(api: Api, path: str, address: str, name: str, password: str) -> httpx.Response:
    return await api.call(
        "POST",
        path,
        json={"username": name, "password": password},
        headers={"X-Forwarded-For": address},
    )


class Attack:
    """Guess passwords of many names from one address, as fast as the service answers."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.answers: dict[int, int] = {}
        self.refused = asyncio.Event()

    async def __aenter__(self) -> "Attack":
        self._running = [asyncio.create_task(self._guess(n)) for n in range(CONNECTIONS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _guess(self, number: int) -> None:
        async with api_at(self._url) as api:
            guesses = 0
            while True:
                name = f"user-{(number + guesses) % LOGINS}"
                answer = await post(api, "/login", ATTACKER, name, "wrong password")
                self.answers[answer.status_code] = self.answers.get(answer.status_code, 0) + 1
                if answer.status_code == 429:
                    self.refused.set()
                guesses += 1
                await asyncio.sleep(PAUSE)


async def log_in_all(url: str) -> list[float]:
    """Log in each user from an address of its own, one after the other; return each duration in
    ms."""
    took = []
    async with api_at(url) as api:
        for n in range(LOGINS):
            begin = time.perf_counter()
            answer = await post(api, "/login", f"198.51.100.{n}", f"user-{n}", PASSWORD)
            took.append((time.perf_counter() - begin) * 1000)
            assert answer.status_code == 200
    return took


async def test_guessing_at_full_speed_delays_no_other_login(
    tmp_path: Path, figures: Figures
) -> None:
    with (Service if SOAK else QuickService)(tmp_path, trusted_proxies="127.0.0.1") as service:
        async with api_at(service.url) as api:
            for n in range(LOGINS):
                answer = await post(api, "/register", f"198.51.100.{n}", f"user-{n}", PASSWORD)
                assert answer.status_code == 201
        calm = await log_in_all(service.url)
        async with Attack(service.url) as attack:
            await attack.refused.wait()
            attacked = await log_in_all(service.url)
        assert attack.answers.keys() == {401, 429}
        assert attack.answers[401] < 30
    figures.note(
        f"{LOGINS} logins while one client asked {sum(attack.answers.values()):,} times, of which "
        f"{attack.answers[401]} were heard: median {statistics.median(attacked):.0f} ms, "
        f"longest {max(attacked):.0f} ms; in calm {statistics.median(calm):.0f} and "
        f"{max(calm):.0f} ms"
    )


async def test_client_on_the_loopback_address_is_not_limited(tmp_path: Path) -> None:
    registrations, logins = (1000, 64) if SOAK else (50, 64)
    with QuickService(tmp_path) as service:
        async with api_at(service.url) as api:
            for n in range(registrations):
                assert (await api.register(f"user-{n}")).status_code == 201
            answers = await asyncio.gather(
                *(api.log_in(f"user-{n % registrations}") for n in range(logins))
            )
            assert {answer.status_code for answer in answers} == {200}


async def test_clients_of_an_untrusted_proxy_share_one_limit_and_the_log_names_the_setting(
    tmp_path: Path,
) -> None:
    with QuickService(tmp_path) as service:
        async with api_at(service.url) as api:
            statuses: list[int] = []
            # The first waits are short, so a slow machine allows a few more attempts.
            while 429 not in statuses and len(statuses) < 40:
                n = len(statuses)
                answer = await post(api, "/register", f"198.51.100.{n}", f"user-{n}", PASSWORD)
                statuses.append(answer.status_code)
            assert statuses[:20] == [201] * 20
            assert statuses[-1] == 429
        service.stop()
        assert service.log().count("set CHATCORE_TRUSTED_PROXIES=127.0.0.1") == 1
