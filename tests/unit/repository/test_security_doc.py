"""The requirements table of docs/security.md: complete, and naming only tests that exist."""

import re

from tests.support.repository import ROOT

DOCUMENT = (ROOT / "docs/security.md").read_text("utf-8")

# OWASP ASVS 5.0.0, level 1, in its order.
LEVEL_1 = re.findall(
    r"[0-9.]+",
    """
1.2.1 1.2.2 1.2.3 1.2.4 1.2.5 1.3.1 1.3.2 1.5.1 2.1.1 2.2.1 2.2.2 2.3.1 3.2.1 3.2.2 3.3.1 3.4.1
3.4.2 3.5.1 3.5.2 3.5.3 4.1.1 4.4.1 5.2.1 5.2.2 5.3.1 5.3.2 6.1.1 6.2.1 6.2.2 6.2.3 6.2.4 6.2.5
6.2.6 6.2.7 6.2.8 6.3.1 6.3.2 6.4.1 6.4.2 7.2.1 7.2.2 7.2.3 7.2.4 7.4.1 7.4.2 8.1.1 8.2.1 8.2.2
8.3.1 9.1.1 9.1.2 9.1.3 9.2.1 10.4.1 10.4.2 10.4.3 10.4.4 10.4.5 11.3.1 11.3.2 11.4.1 12.1.1
12.2.1 12.2.2 13.4.1 14.2.1 14.3.1 15.1.1 15.2.1 15.3.1
""",
)


def test_every_requirement_of_the_level_is_answered_once() -> None:
    rows = re.findall(r"^\| ([0-9][0-9., to]*) \|", DOCUMENT, re.MULTILINE)
    answered: list[str] = []
    for row in rows:
        first, to, last = row.partition(" to ")
        if to:
            section, _, start = first.rpartition(".")
            end = int(last.rpartition(".")[2])
            answered += [f"{section}.{number}" for number in range(int(start), end + 1)]
        else:
            answered += row.split(", ")
    assert answered == LEVEL_1


def test_tests_and_files_named_in_the_document_exist() -> None:
    named = re.findall(r"`((?:tests|src|requirements)/[^`:]*)(?:::(\w+))?`", DOCUMENT)
    assert len(named) > 30
    for path, test in named:
        file = ROOT / path
        assert file.exists(), path
        assert not test or f"def {test}(" in file.read_text("utf-8"), (path, test)
    for link in re.findall(r"\]\(([^):#]+)[)#]", DOCUMENT):
        assert (ROOT / "docs" / link).exists(), link
