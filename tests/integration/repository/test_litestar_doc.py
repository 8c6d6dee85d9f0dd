"""The examples of docs/litestar.md do what they show."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from chatcore_litestar_plugin import ChatConfig
from tests.support.repository import ROOT

DOCUMENT = (ROOT / "docs" / "litestar.md").read_text()
EXAMPLE = (ROOT / "examples" / "litestar_plugin.py").read_text()
MOST_LINES = 15

DRIVE = """
from litestar.testing import TestClient

ann = {"username": "ann", "password": "correct horse battery"}
with TestClient(accounts["app"]) as client:
    assert client.post("/chat/register", json=ann).status_code == 201
    assert client.post("/chat/login", json=ann).status_code == 200
    assert client.get("/chat").text.startswith("<!doctype html>")
with TestClient(several["app"]) as client:
    assert client.post("/support/register", json=ann).status_code == 201
    assert client.post("/team/login", json=ann).status_code == 401
tests["test_a_customer_has_no_chats"]()
"""


def block(name: str) -> str:
    [found] = re.findall(rf"^```python {name}\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
    return str(found)


def test_examples_run(tmp_path: Path) -> None:
    script = "import os; os.environ['CHAT_SECRET'] = 'x' * 32\n"
    for name in ("accounts", "several", "tests"):
        script += f"{name} = dict(__name__=''); exec({block(name)!r}, {name})\n"
    subprocess.run([sys.executable, "-W", "error", "-c", script + DRIVE], cwd=tmp_path, check=True)


def test_document_shows_the_chat_of_the_example() -> None:
    assert block("example") in EXAMPLE
    own = [line for line in block("example").splitlines() if line.strip()]
    assert len(own) <= MOST_LINES


def test_document_names_every_field() -> None:
    table = DOCUMENT.partition("## Configuration")[2].partition("## OpenAPI")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == {
        field.name for field in fields(ChatConfig)
    }
