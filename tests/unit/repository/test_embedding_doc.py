"""What docs/embedding.md shows of the examples is what the tests of the examples run."""

import re

import pytest

from tests.support.repository import ROOT

DOCUMENT = (ROOT / "docs/embedding.md").read_text()
SHOWN = re.findall(r"^```(python [^\n]*)\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("name", "code"), SHOWN)
def test_what_is_shown_is_part_of_the_example(name: str, code: str) -> None:
    language, file = name.split()
    assert language == "python"
    assert code in (ROOT / file).read_text()
