"""Device sessions in the running service: their settings, the log line, and a new signing key."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.api import PASSWORD, Api, Someone, api_at
from tests.support.service import QuickService

DAY_US = 86_400_000_000


async def sign_in(api: Api) -> dict[str, Any]:
    body = {"username": "ann", "password": PASSWORD, "device": "phone"}
    tokens: dict[str, Any] = (await api.call("POST", "/v1/sessions", json=body)).json()
    return tokens


async def renew(api: Api, tokens: dict[str, Any]) -> Any:
    body = {"refresh_token": tokens["refresh_token"]}
    return await api.call("POST", "/v1/sessions/renew", json=body)


async def test_settings_say_when_a_session_expires(tmp_path: Path) -> None:
    with QuickService(tmp_path, session_idle_days="7", session_days="9") as service:
        async with api_at(service.url) as api:
            await api.register("ann")
            await sign_in(api)
        with closing(sqlite3.connect(service.database_path)) as connection:
            query = "SELECT expires_us - created_us, ends_us - created_us FROM sessions"
            assert connection.execute(query).fetchall() == [(7 * DAY_US, 9 * DAY_US)]


async def test_session_outlives_a_new_key_and_its_theft_is_one_line(tmp_path: Path) -> None:
    with QuickService(tmp_path) as service:
        async with api_at(service.url) as api:
            await api.register("ann")
            first = await sign_in(api)
        service.stop()
        service.settings["secret"] = "another secret of at least 32 bytes"
        service.start()
        async with api_at(service.url) as api:
            # The access token is signed with the former key, the refresh token with none.
            former = Someone("ann", first["token"])
            assert (await api.call("GET", "/v1/me", former)).status_code == 401
            second = (await renew(api, first)).json()
            third = (await renew(api, second)).json()
            present = Someone("ann", third["token"])
            assert (await api.call("GET", "/v1/me", present)).status_code == 200
            assert (await renew(api, first)).status_code == 401
            assert (await api.call("GET", "/v1/me", present)).status_code == 401
        # Another thread writes the log; a stop waits for it.
        service.stop()
        lines = [line for line in service.log().splitlines() if "refresh token" in line]
        [line] = lines
        assert f"session {first['session_id']} of user 1 ended" in line
        assert not any(tokens["refresh_token"] in service.log() for tokens in (first, second))
