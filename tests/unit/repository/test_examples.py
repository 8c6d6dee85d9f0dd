"""The examples, and those of docs/policy.md, run and print what they should."""

import re
import runpy
from pathlib import Path

import pytest

from tests.support.repository import ROOT

LONGEST = 100  # lines
LONGER = {"store_sqlite.py": 400}
ALL = sorted((ROOT / "examples").glob("*.py"))
# Those that need a server, PostgreSQL or pytest; integration tests run them.
RUN_ELSEWHERE = {
    "django_host.py",
    "fastapi_host.py",
    "host_test.py",
    "litestar_plugin.py",
    "order_and_message.py",
    "unit_test.py",
}
EXAMPLES = [path for path in ALL if path.name not in RUN_ELSEWHERE]

PRINTED = {
    "policy_orders.py": """\
bob and ann have a chat, for ann ordered from bob
eve may not open one with ann: shop_no_order
the shop opened one for them
""",
    "policy_words.py": """\
What the ****, Bob?
**** it, Ann. True True
Darn
""",
    "policy_rate.py": """\
sent: one
sent: two
refused: three acme_slow_down
sent a minute later: three
""",
    "script.py": """\
1042 announced
1043 announced
""",
    "store_sqlite.py": """\
['Is it still for sale?']
['Is it still for sale?', 'Yes.']
""",
}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_prints_what_it_should(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out == PRINTED[path.name]


def test_script_sends_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        runpy.run_path(str(ROOT / "examples/script.py"), run_name="__main__")
    again = ["1042 was announced before", "1043 was announced before"]
    assert capsys.readouterr().out.splitlines()[2:] == again


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGER.get(path.name, LONGEST)


def test_every_example_stands_in_a_document() -> None:
    documents = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    named = re.findall(r"\]\(\.\./examples/(\w+\.py)\)", documents)
    assert {path.name for path in ALL} == set(named) == set(PRINTED) | RUN_ELSEWHERE


def test_example_of_the_policy_document_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs/policy.md").read_text()
    [example] = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "example.py").write_text(example)
    runpy.run_path(str(tmp_path / "example.py"))
    assert capsys.readouterr().out == "acme_closed\n"
