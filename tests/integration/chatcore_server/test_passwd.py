"""`chatcore passwd`: the operator replaces a forgotten password."""

import asyncio
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from chatcore.testing.scene import add_user
from chatcore_server.commands.passwd import set_password
from chatcore_server.settings import CannotStart, Settings
from chatcore_sqlalchemy import SqlAlchemyStore
from tests.support.api import PASSWORD, Someone, api_at
from tests.support.service import COMMAND, Service, environment, run

ANOTHER = "ein anderes Paßwort"


def passwd(folder: Path, name: str, typed: str) -> subprocess.CompletedProcess[str]:
    return run("passwd", name, cwd=folder, stdin=typed)


async def test_passwd_replaces_the_password_and_revokes_tokens(tmp_path: Path) -> None:
    with Service(tmp_path) as service:
        async with api_at(service.url) as api:
            await api.register("Ann")
            old = Someone("Ann", (await api.log_in("ann")).json()["token"])
            start = {"username": "ann", "password": PASSWORD, "device": "phone"}
            session = (await api.call("POST", "/v1/sessions", json=start)).json()
        running = passwd(tmp_path, "ann", ANOTHER)
        assert (running.returncode, running.stdout) == (2, "")
        assert "in use by another process" in running.stderr
        assert service.stop() == 0

        done = passwd(tmp_path, "ann", ANOTHER + "\nand more\n")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Changed the password of Ann")

        service.start()
        async with api_at(service.url) as api:
            assert (await api.call("GET", "/v1/me", old)).status_code == 401
            renewal = {"refresh_token": session["refresh_token"]}
            answer = await api.call("POST", "/v1/sessions/renew", json=renewal)
            assert answer.status_code == 401
            assert (await api.log_in("ann", PASSWORD)).status_code == 401
            assert (await api.log_in("ann", ANOTHER)).status_code == 200

    refused = passwd(tmp_path, "ann", "short\n")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "at least 8 characters" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "typed", "reason"),
    [
        ("nobody", ANOTHER.encode(), "there is no user 'nobody'"),
        ("ann", b"", "at least 8 characters"),
        ("ann", b"\xff" * 9, "not UTF-8"),
    ],
)
def test_invalid_password_or_unknown_user_is_refused(
    name: str, typed: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/chatcore.db"

    async def with_ann() -> None:
        async with await SqlAlchemyStore.open(url) as store:
            await add_user(store, "ann")

    asyncio.run(with_ann())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
    with pytest.raises(CannotStart, match=reason):
        set_password(name, Settings(database_url=url), pytest.fail)


def test_common_password_is_refused_if_the_setting_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        database_url=f"sqlite:///{tmp_path}/chatcore.db", refuse_common_passwords=True
    )

    async def with_ann() -> None:
        async with await SqlAlchemyStore.open(settings.database_url) as store:
            await add_user(store, "ann")

    asyncio.run(with_ann())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"password123\n")))
    with pytest.raises(CannotStart, match="most common"):
        set_password("ann", settings, pytest.fail)


def test_passwd_without_a_terminal_or_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chatcore.db").touch()
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "passwd", "ann"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, b"chatcore: no password given\n")


def test_passwd_creates_no_database(tmp_path: Path) -> None:
    refused = passwd(tmp_path, "ann", ANOTHER)
    assert refused.returncode == 2
    assert "there is no database chatcore.db" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (b"one password\nanother one\n", b"the passwords do not match"),
        (b"one password\n\x03", b""),
    ],
)
def test_passwd_prompts_twice_without_echo(tmp_path: Path, typed: bytes, said: bytes) -> None:
    (tmp_path / "chatcore.db").touch()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(COMMAND[0], [*COMMAND, "passwd", "ann"], environment())  # noqa: S606
    shown = b""
    # What is typed before it is asked for is thrown away.
    for asked, line in zip(
        (b" for ann: ", b"Repeat the password: "), typed.splitlines(True), strict=True
    ):
        shown += read_until(terminal, asked)
        os.write(terminal, line)
    shown += read_until(terminal, b"never")
    assert said in shown
    assert b"one password" not in shown
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == (130 if b"\x03" in typed else 2)
    os.close(terminal)


def read_until(terminal: int, mark: bytes) -> bytes:
    """Everything the terminal shows up to `mark`, or to the end."""
    shown = b""
    while mark not in shown:
        try:
            piece = os.read(terminal, 1024)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    return shown
