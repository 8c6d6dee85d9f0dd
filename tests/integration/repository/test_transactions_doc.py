"""The example of docs/transactions.md, and the figures that it gives."""

import re
import subprocess
import sys

from chatcore_sqlalchemy.postgres import connection, writer
from tests.support.repository import ROOT

DOCUMENT = (ROOT / "docs" / "transactions.md").read_text()


def test_example_stores_order_and_message_together(postgres_url: str) -> None:
    [printed] = re.findall(r"^```text\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
    example = ROOT / "examples" / "order_and_message.py"
    done = subprocess.run(
        [sys.executable, example, postgres_url], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == (printed, "")


def test_figures_match_the_code() -> None:
    for said in (
        f"{connection.LOCK_SECONDS} seconds for a lock",
        f"{connection.STATEMENT_SECONDS} seconds for a statement",
        f"{writer.PATIENCE_MILLISECONDS} ms",
    ):
        assert said in DOCUMENT, said
