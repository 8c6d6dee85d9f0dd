"""The examples of docs/testing.md."""

import re
from pathlib import Path

from tests.support.repository import ROOT

_TEXT = (ROOT / "docs" / "testing.md").read_text("utf-8")


def _files(language: str) -> dict[str, str]:
    blocks = re.findall(rf"^```{language} (\S+)\n(.*?)^```$", _TEXT, re.DOTALL | re.MULTILINE)
    return dict(blocks)


FILES = _files("python")
"""The source of each file by its name."""

OUTPUTS = _files("text")
"""By the name of a test file that fails: the lines that it shows."""

VIRTUAL = {name for name, source in FILES.items() if "run_in_virtual_time" in source}
"""Files with tests in virtual time."""

[SCRIPT] = re.findall(r"^```python\n(.*?)^```$", _TEXT, re.DOTALL | re.MULTILINE)
"""The example without pytest."""


def write_files(folder: Path) -> None:
    for name, source in FILES.items():
        (folder / name).write_text(source, "utf-8")
