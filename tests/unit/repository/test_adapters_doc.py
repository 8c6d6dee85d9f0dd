"""docs/adapters.md: its table of ports is complete, and its store passes the checks as shown."""

import asyncio
import inspect
import re
from typing import Any

import pytest

from chatcore import ports
from chatcore.testing import checks_for
from chatcore.testing.pages import messages_before_are_the_last_ones
from tests.support.repository import ROOT

DOCUMENT = (ROOT / "docs" / "adapters.md").read_text("utf-8")


def block(name: str) -> str:
    [found] = re.findall(rf"^```{name}\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
    return str(found)


# The test of the document is a test of this file: each check on the store of the example.
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT / "examples")
    exec(compile(block("python test_store.py"), "docs/adapters.md", "exec"))  # noqa: S102

SqliteStore: Any = globals()["SqliteStore"]


def test_store_is_held_to_the_checks_that_the_document_names() -> None:
    said = block("text held").split()
    assert [*checks_for(SqliteStore(":memory:"))] == said


def test_failing_check_shows_what_the_document_shows() -> None:
    class Reversed(SqliteStore):  # type: ignore[misc]
        async def messages_before(self, *arguments: Any, **options: Any) -> Any:
            return (await super().messages_before(*arguments, **options))[::-1]

    with pytest.raises(AssertionError) as broken:
        asyncio.run(messages_before_are_the_last_ones(Reversed(":memory:")))
    lines = "\n".join([f"AssertionError: {broken.value}", *broken.value.__notes__])
    assert lines.split() == block("text failing").split()


def test_unwritten_method_shows_what_the_document_shows() -> None:
    class Unwritten(SqliteStore):  # type: ignore[misc]
        async def open_chat(self, *arguments: int) -> None:
            """Return None, as the body `...` does."""

    with pytest.raises(AssertionError) as broken:
        asyncio.run(messages_before_are_the_last_ones(Unwritten(":memory:")))
    assert f"AssertionError: {broken.value}".split() == block("text unwritten").split()


def test_table_has_every_port_and_every_method() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", DOCUMENT, re.MULTILINE)
    assert {name for name, _ in rows} == {
        name for name, port in vars(ports).items() if getattr(port, "_is_protocol", False)
    }
    for name, methods in rows:
        port = getattr(ports, name)
        own = [it for it, _ in inspect.getmembers(port, callable) if not it.startswith("_")]
        words = re.findall(r"`(\w+)`", methods)
        whole = [it for it in words if not hasattr(ports, it)]
        for combined in set(words) - set(whole):
            part = getattr(ports, combined)
            whole += [it for it, _ in inspect.getmembers(part, callable) if it[0] != "_"]
        assert set(whole) == set(own), name
