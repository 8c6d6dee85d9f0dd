"""The wheel as a user gets it: built here and installed into an empty environment."""

import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support import testing_doc
from tests.support.repository import ROOT

PACKAGES = {
    "chatcore",
    "chatcore_argon2",
    "chatcore_asgi",
    "chatcore_jwt",
    "chatcore_litestar",
    "chatcore_litestar_plugin",
    "chatcore_memory",
    "chatcore_nats",
    "chatcore_notify",
    "chatcore_postgres",
    "chatcore_pytest",
    "chatcore_server",
    "chatcore_sqlalchemy",
    "chatcore_valkey",
}

# Runs a script, or lines with a top-level await as `python -m asyncio` does.
RUN_EXAMPLE = """
import ast, asyncio, inspect, sys, types
code = compile(sys.stdin.read(), "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
outcome = types.FunctionType(code, {"__name__": "__main__"})()
if inspect.iscoroutine(outcome):
    asyncio.run(outcome)
"""
SAY_WHERE = "import chatcore; print(chatcore.__file__)"


@dataclass(frozen=True)
class Environment:
    python: Path
    site_packages: Path

    @classmethod
    def with_wheel(cls, folder: Path, wheel: Path) -> "Environment":
        venv.create(folder, symlinks=True)  # Without pip: installing with our own is faster.
        paths = sysconfig.get_paths("venv", vars={"base": str(folder), "platbase": str(folder)})
        made = cls(Path(paths["scripts"], "python"), Path(paths["purelib"]))
        install = ("-m", "pip", "--python", made.python, "install", "--no-index", "--no-deps")
        run(sys.executable, *install, wheel)
        return made

    def run(self, code: str, cwd: Path, stdin: str = "") -> str:
        # -I: neither PYTHONPATH nor the working directory provides a module.
        return run(self.python, "-I", "-W", "error", "-c", code, cwd=cwd, stdin=stdin)


def run(*command: str | Path, cwd: Path | None = None, stdin: str = "") -> str:
    done = subprocess.run(
        command, cwd=cwd, input=stdin, capture_output=True, text=True, encoding="utf-8", timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from the source distribution, which is thereby known to be complete.
    dist = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, ROOT)
    [built] = dist.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment.with_wheel(tmp_path_factory.mktemp("bare"), wheel)


@pytest.fixture(scope="module")
def with_extras(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel, with the libraries of the extras lent by this environment.

    Lent folders come after the wheel on the path. Their .pth files are not read, among them the
    one that makes this checkout importable.
    """
    made = Environment.with_wheel(tmp_path_factory.mktemp("extras"), wheel)
    lent = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    made.site_packages.joinpath("lent.pth").write_text("\n".join(lent), "utf-8")
    return made


def distributions(*names: str) -> Iterator[Distribution]:
    """Yield the installed distributions of these names, and those that they need."""
    for name in names:
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # For another platform or version.
        yield found
        needed = [need for need in found.requires or () if "extra ==" not in need]
        yield from distributions(*(re.split(r"[^\w.-]", need)[0] for need in needed))


@pytest.fixture(scope="module")
def pytest_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pytest, anyio and what they need, lent by this environment."""
    folder = tmp_path_factory.mktemp("pytest")
    for found in distributions("pytest", "anyio"):
        for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (folder / name).exists():
                (folder / name).symlink_to(Path(str(found.locate_file(name))))
    return folder


def run_pytest(bare: Environment, pytest_alone: Path, cwd: Path, *arguments: str) -> str:
    """Return the output of pytest in the bare environment, and its exit status after it."""
    options = ["-p", "no:cacheprovider", "-W", "error", *arguments]
    return bare.run(
        f"import sys; sys.path.append({str(pytest_alone)!r}); "
        f"import pytest; status = pytest.main({options!r}); print('exit status', int(status))",
        cwd,
    )


def test_wheel_adds_exactly_these_top_level_names(bare: Environment) -> None:
    names = {path.name for path in bare.site_packages.iterdir()}
    [metadata] = {name for name in names if name.endswith(".dist-info")}
    assert metadata.startswith("chatcore-")
    assert names == {metadata} | PACKAGES


def test_wheel_ships_every_file_of_the_packages(wheel: Path) -> None:
    shipped = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = {
        path.relative_to(root).as_posix()
        for root in (ROOT / "src", ROOT / "src" / "adapters")
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == source
    assert {f"{package}/py.typed" for package in PACKAGES} <= shipped
    migrations = "chatcore_sqlalchemy/migrations/"
    assert any(name.startswith(migrations) and name.endswith(".py") for name in shipped)


def test_bare_install_needs_no_other_package(bare: Environment, tmp_path: Path) -> None:
    requires = "import importlib.metadata as m; print(*m.requires('chatcore') or (), sep='\\n')"
    needs = bare.run(requires, tmp_path).splitlines()
    assert needs
    assert [need for need in needs if "extra ==" not in need] == []
    bare.run("import chatcore, chatcore.blocking, chatcore.testing, chatcore_memory", tmp_path)


def test_command_is_installed(with_extras: Environment, tmp_path: Path) -> None:
    run(with_extras.python.with_name("chatcore"), "--version", cwd=tmp_path)


def test_embedding_example_of_the_readme_runs(with_extras: Environment, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    [example] = [block for block in blocks if "Accounts(" in block]

    imported = Path(with_extras.run(SAY_WHERE, tmp_path).strip())
    assert imported.is_relative_to(with_extras.site_packages)
    with_extras.run(RUN_EXAMPLE, tmp_path, stdin=example)


def test_examples_of_the_testing_guide_run_without_extras(
    bare: Environment, pytest_alone: Path, tmp_path: Path
) -> None:
    testing_doc.write_files(tmp_path)
    output = run_pytest(bare, pytest_alone, tmp_path, "-v")
    names = re.findall(r"^(\w+\.py)::\S+ (PASSED|FAILED)", output, re.MULTILINE)
    tests = {name for name in testing_doc.FILES if name.startswith("test_")}
    assert {name for name, _ in names} == tests
    failed = [name for name, verdict in names if verdict == "FAILED"]
    assert sorted(failed) == sorted(testing_doc.OUTPUTS), output
    for shown in testing_doc.OUTPUTS.values():
        lines = [f"E       {line}" for line in shown.splitlines()]
        assert "\n".join(lines) in output


def test_example_without_pytest_runs_without_extras(bare: Environment, tmp_path: Path) -> None:
    bare.run(RUN_EXAMPLE, tmp_path, stdin=testing_doc.SCRIPT)


def test_pytest_plugin_imports_nothing_of_chatcore_unless_used(
    bare: Environment, pytest_alone: Path, tmp_path: Path
) -> None:
    (tmp_path / "test_unrelated.py").write_text(
        "import sys\n"
        "def test_imports():\n"
        "    found = {name for name in sys.modules if name.startswith('chatcore')}\n"
        "    assert found == {'chatcore_pytest'}\n"
    )
    output = run_pytest(bare, pytest_alone, tmp_path, "-q")
    assert output.endswith("exit status 0\n"), output
