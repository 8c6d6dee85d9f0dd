"""Import rules between the packages, checked by parsing every file, not by importing it."""

import ast
import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import chatcore
import chatcore.ports
from tests.support.repository import ROOT

SRC = ROOT / "src"
ADAPTERS = SRC / "adapters"
LONGEST_FILE = 400  # lines: a reader holds small files
LONGEST_FUNCTION = 60  # lines from `def` on: it fits on a screen
LONG_FUNCTIONS = {
    "_parser",  # of the command line: a flat list of options, in the order of --help
}

# The top-level names that each package may import besides itself and the standard library.
MAY_IMPORT = {
    "chatcore": set[str](),
    "chatcore_memory": {"chatcore"},
    "chatcore_postgres": {"asyncpg"},
    "chatcore_sqlalchemy": {"chatcore", "chatcore_postgres", "sqlalchemy", "alembic", "asyncpg"},
    "chatcore_notify": {"chatcore", "chatcore_postgres"},
    "chatcore_valkey": {"chatcore", "redis"},
    "chatcore_nats": {"chatcore", "nats"},
    "chatcore_argon2": {"chatcore", "argon2"},
    "chatcore_jwt": {"chatcore", "jwt"},
    "chatcore_litestar": {"chatcore", "litestar", "msgspec"},
    "chatcore_server": {
        "chatcore",
        "chatcore_memory",
        "chatcore_postgres",
        "chatcore_sqlalchemy",
        "chatcore_notify",
        "chatcore_valkey",
        "chatcore_nats",
        "chatcore_argon2",
        "chatcore_jwt",
        "chatcore_litestar",
        "uvicorn",
        "httptools",
        "uvloop",
        "prometheus_client",
    },
    "chatcore_litestar_plugin": {
        "chatcore",
        "chatcore_litestar",
        "chatcore_sqlalchemy",
        "chatcore_notify",
        "click",
        "litestar",
    },
    "chatcore_asgi": {"chatcore", "chatcore_litestar", "chatcore_litestar_plugin", "litestar"},
    "chatcore_pytest": {
        "chatcore",
        "chatcore_memory",
        "chatcore_postgres",
        "chatcore_sqlalchemy",
        "pytest",
    },
}
COMPOSITION_ROOTS = {
    "chatcore_server",
    "chatcore_litestar_plugin",
    "chatcore_asgi",
    "chatcore_pytest",
}
SHARED = {"chatcore_postgres"}  # what the store and the doorbell on PostgreSQL have in common
TEST_FRAMEWORKS = {"anyio", "doctest", "hypothesis", "nose", "pytest", "unittest"}


def packages() -> dict[str, Path]:
    roots = (SRC, ADAPTERS)
    return {
        folder.name: folder
        for root in roots
        for folder in sorted(root.iterdir())
        if folder.is_dir() and folder not in roots and folder.name != "__pycache__"
    }


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and top-level name of every absolute import, in the file.

    That includes imports inside functions, imports for type checkers alone, and imports by a
    literal name at run time. A relative import cannot leave its top-level package.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(level=0, module=str(module)):
                modules = [module]
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module")
                | ast.Attribute(attr="__import__" | "import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ) if not module.startswith("."):
                modules = [module]
            case _:
                continue
        for module in modules:
            yield node.lineno, module.partition(".")[0]


def imports_under(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*.py")):
        for line, name in imports(path.read_text("utf-8")):
            yield f"{path}:{line}", name


def trespasses(folder: Path, may_import: set[str]) -> list[str]:
    allowed = may_import | sys.stdlib_module_names | {folder.name}
    return [
        f"{place} imports {name}" for place, name in imports_under(folder) if name not in allowed
    ]


def uses_of_test_frameworks(folder: Path) -> list[str]:
    return [
        f"{place} imports {name}"
        for place, name in imports_under(folder)
        if name in TEST_FRAMEWORKS
    ]


def overlong(folder: Path) -> list[str]:
    lengths = {path: len(path.read_bytes().splitlines()) for path in folder.rglob("*.py")}
    return [f"{path}: {n} lines" for path, n in sorted(lengths.items()) if n > LONGEST_FILE]


def overlong_functions(folder: Path) -> list[str]:
    return [
        f"{path}:{node.lineno}: {node.name} has {length} lines"
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
        and node.name not in LONG_FUNCTIONS
    ]


def public_names(module: types.ModuleType) -> set[str]:
    """What a reader of the module could take for its interface: all but `_names` and submodules."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }


def test_every_package_has_its_rule() -> None:
    assert set(packages()) == set(MAY_IMPORT)


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_a_package_imports_only_what_it_may(name: str) -> None:
    assert trespasses(packages()[name], MAY_IMPORT[name]) == []


def test_only_the_composition_roots_may_import_adapters() -> None:
    adapters = set(MAY_IMPORT) - {"chatcore"} - SHARED
    assert {name for name, may in MAY_IMPORT.items() if may & adapters} == COMPOSITION_ROOTS


def test_adapters_folder_is_not_a_package() -> None:
    # A top-level `adapters` would merge with the public project of that name.
    assert not (ADAPTERS / "__init__.py").exists()


def test_the_core_imports_no_test_framework() -> None:
    # The conformance kit runs under any; unittest and doctest would pass as standard library.
    assert uses_of_test_frameworks(packages()["chatcore"]) == []


@pytest.mark.parametrize(
    "name",
    [*MAY_IMPORT, "chatcore.blocking", "chatcore.testing", "chatcore_sqlalchemy.outbox"],
)
def test_dunder_all_lists_the_public_names(name: str) -> None:
    package = importlib.import_module(name)
    assert sorted(getattr(package, "__all__", [])) == sorted(public_names(package))


def test_all_of_the_ports_is_what_they_define() -> None:
    defined = {
        name
        for name in public_names(chatcore.ports)
        if getattr(vars(chatcore.ports)[name], "__module__", "").startswith("chatcore.ports")
    } | {"MAX_PAGE"}
    assert sorted(chatcore.ports.__all__) == sorted(defined)


def test_files_stay_small() -> None:
    assert overlong(SRC) == []


def test_functions_stay_small() -> None:
    assert overlong_functions(SRC) == []


# The checks above must be able to fail.


@pytest.mark.parametrize(
    "source",
    [
        "import litestar",
        "import os, litestar.types as t",
        "from litestar.types import Scope",
        "def f():\n    import litestar",
        "if TYPE_CHECKING:\n    from litestar import Request",
        "try:\n    import litestar\nexcept ImportError:\n    pass",
        "importlib.import_module('litestar.types')",
        "import_module('litestar')",
        "__import__('litestar')",
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, source: str) -> None:
    core = tmp_path / "chatcore"
    (core / "deep").mkdir(parents=True)
    planted = core / "deep" / "planted.py"
    planted.write_text(source, "utf-8")
    [found] = trespasses(core, MAY_IMPORT["chatcore"])
    assert found.startswith(f"{planted}:")
    assert found.endswith(" imports litestar")


def test_an_adapter_that_imports_another_is_found(tmp_path: Path) -> None:
    adapter = tmp_path / "chatcore_jwt"
    adapter.mkdir()
    (adapter / "a.py").write_text("import jwt, chatcore\nfrom chatcore_argon2 import x", "utf-8")
    [found] = trespasses(adapter, MAY_IMPORT["chatcore_jwt"])
    assert found.endswith("a.py:2 imports chatcore_argon2")


@pytest.mark.parametrize(
    "source",
    ["import asyncio", "from . import model", "from ..model import User", "import chatcore"],
)
def test_allowed_imports_of_the_core_are_not_reported(tmp_path: Path, source: str) -> None:
    core = tmp_path / "chatcore"
    core.mkdir()
    (core / "planted.py").write_text(source, "utf-8")
    assert trespasses(core, MAY_IMPORT["chatcore"]) == []


def test_a_planted_test_framework_is_found(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("from unittest.mock import Mock", "utf-8")
    [found] = uses_of_test_frameworks(tmp_path)
    assert found.endswith("planted.py:1 imports unittest")


def test_an_overlong_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "fits.py").write_text("x = 1\n" * LONGEST_FILE, "utf-8")
    assert overlong(tmp_path) == []
    (tmp_path / "long.py").write_text("x = 1\n" * (LONGEST_FILE + 1), "utf-8")
    [found] = overlong(tmp_path)
    assert found.endswith("long.py: 401 lines")


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_an_overlong_function_is_found(tmp_path: Path, kind: str) -> None:
    body = "        pass\n" * (LONGEST_FUNCTION - 1)
    (tmp_path / "fits.py").write_text(f"class A:\n    {kind} f():\n{body}", "utf-8")
    assert overlong_functions(tmp_path) == []
    (tmp_path / "long.py").write_text(f"class A:\n    {kind} f():\n{body}        pass", "utf-8")
    [found] = overlong_functions(tmp_path)
    assert found.endswith("long.py:2: f has 61 lines")


def test_a_name_kept_out_of_all_is_found() -> None:
    module = types.ModuleType("planted")
    vars(module).update(Public=1, _private=2, submodule=types)
    assert public_names(module) == {"Public"}
