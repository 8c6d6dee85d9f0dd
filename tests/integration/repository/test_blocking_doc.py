"""The examples of docs/blocking.md do what they show."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.repository import ROOT

DOC = (ROOT / "docs" / "blocking.md").read_text("utf-8")


def example(name: str) -> str:
    [found] = re.findall(rf"^```python {name}\n(.*?)^```", DOC, re.DOTALL | re.MULTILINE)
    return str(found)


def run(code: str, folder: Path) -> list[str]:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_examples_run(tmp_path: Path) -> None:
    assert run(example("script"), tmp_path) == ["hello", "1"]
    tmp_path.joinpath("chat.py").write_text(example("chat.py"), "utf-8")
    log_in = 'token = chat.chat()[0].log_in("bob", "staple of batteries")\n'
    send = 'print(send_message(token, "ann", "Hello yourself."))'
    assert run(f"{example('view')}\n{log_in}{send}", tmp_path) == ["2"]


def test_every_example_is_run() -> None:
    assert re.findall(r"^```(.+)$", DOC, re.MULTILINE) == [
        "python script",
        "python chat.py",
        "python view",
    ]
