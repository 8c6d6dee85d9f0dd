"""The examples of the README do what they show."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import fields
from pathlib import Path

import pytest

from chatcore_server.settings import Settings, variable_of
from tests.support.repository import ROOT
from tests.support.service import CommandService

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
def test_curl_session_works_as_shown(tmp_path: Path) -> None:
    shown = "".join(blocks("console"))
    commands = [line[2:] for line in shown.splitlines() if line.startswith("$ ")]
    answers = [line for line in shown.splitlines() if not line.startswith("$ ")]
    assert len(commands) >= 7
    with CommandService(tmp_path) as service:
        # An answer has no line end.
        script = "\n".join(f"{command}; echo" for command in commands)
        script = script.replace("http://127.0.0.1:8000", service.url)
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line] == answers


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
def test_session_of_two_terminals_works_as_shown(tmp_path: Path) -> None:
    commands = [line[2:] for line in blocks("console")[0].splitlines() if line.startswith("$ ")]
    with CommandService(tmp_path) as service, ExitStack() as terminals:

        def shell(script: str) -> "subprocess.Popen[str]":
            """Run it in a terminal that inherits the variables set so far, until the test ends."""
            script = script.replace("http://127.0.0.1:8000", service.url)
            process = terminals.enter_context(
                subprocess.Popen(
                    ["bash", "-c", script],
                    stdout=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
            )
            terminals.callback(end, process)
            return process

        def end(process: "subprocess.Popen[str]") -> None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        def output_of(process: "subprocess.Popen[str]", like: str) -> list[str]:
            """As many of its output lines as the README shows there."""
            assert process.stdout
            return [process.stdout.readline() for _ in like.splitlines()]

        def steady(lines: list[str]) -> list[str]:
            """The lines without the values that differ in each run."""
            random = r"[0-9a-f]{16}(?=-)|(?<=-\d-\d)-[0-9a-f]+|20\d\d-[^\"]*Z"
            return [re.sub(random, "…", line).strip() for line in lines]

        listen, resume = blocks("sh listen")[0], blocks("sh resume")[0]
        first, second = blocks("sh send")
        shown_first, shown_second = blocks("text listen")[0], blocks("text resume")[0]
        set_up = "\n".join(f"{command} > /dev/null" for command in commands[:-1])
        login = next(command for command in commands if command.startswith("TOKEN="))
        shell(set_up).wait()
        listener = shell(listen)
        seen = output_of(listener, shown_first.splitlines()[0])
        shell(f"{login}\n{first}").wait()
        seen += output_of(listener, "\n".join(shown_first.splitlines()[1:]))
        assert steady(seen) == steady(shown_first.splitlines())
        service.kill()
        service.start()
        shell(f"{login}\n{second}").wait()
        cursor = next(line[4:].strip() for line in seen if line.startswith("id: "))
        again = (
            listen.splitlines()[0] + "\n" + re.sub(r"[0-9a-f]{16}-2-3-[0-9a-f]+", cursor, resume)
        )
        resumed = shell(again)
        assert steady(output_of(resumed, shown_second)) == steady(shown_second.splitlines())


@pytest.mark.parametrize("example", blocks("python"))
def test_python_examples_run(example: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", example], check=True, cwd=tmp_path)


def test_the_settings_and_their_defaults_are_those_of_the_service() -> None:
    rows = re.findall(r"^\| `(CHATCORE_\w+)` \| ([^|]+) \|", README, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(map(variable_of, fields(Settings)))
    defaults = {name: default.strip("`") for name, default in rows if default.startswith("`")}
    assert Settings.read(defaults, {}) == Settings()
