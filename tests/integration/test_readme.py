"""What the README shows is what happens."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.service import Service

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
def test_the_curl_session(tmp_path: Path) -> None:
    shown = "".join(blocks("console"))
    commands = [line[2:] for line in shown.splitlines() if line.startswith("$ ")]
    answers = [line for line in shown.splitlines() if not line.startswith("$ ")]
    assert len(commands) >= 7
    with Service(tmp_path) as service:
        # An answer has no line end of its own.
        script = "\n".join(f"{command}; echo" for command in commands)
        script = script.replace("http://127.0.0.1:8000", service.url)
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line] == answers


@pytest.mark.parametrize("example", blocks("python"))
def test_the_python_examples(example: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", example], check=True, cwd=tmp_path)
