"""The pytest plugin in projects of their own, on each kind of store."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import testing_doc
from tests.support.postgres_server import PostgresServer
from tests.support.repository import ROOT
from tests.support.soak import soak_only


def run_pytest(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    # The checkout may have been installed before it had this entry point.
    options = ("-p", "chatcore_pytest", "-p", "no:cacheprovider", "-W", "error")
    command = [sys.executable, "-m", "pytest", "-q", *options, *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=600)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The examples of docs/testing.md that run on every store and pass."""
    testing_doc.write_files(tmp_path)
    for name in (testing_doc.VIRTUAL - {"test_in_memory.py"}) | set(testing_doc.OUTPUTS):
        (tmp_path / name).unlink()
    return tmp_path


def test_example_of_a_unit_test_passes(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, str(ROOT / "examples/unit_test.py"), "-c", "/dev/null")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


@soak_only
def test_examples_pass_on_sqlite(project: Path) -> None:
    (project / "test_store.py").write_text(
        "def test_store(chatcore_store, tmp_path):\n"
        "    assert chatcore_store.created\n"
        "    assert (tmp_path / 'chatcore.db').exists()\n"
    )
    done = run_pytest(project, "--chatcore-store=sqlite")
    assert done.returncode == 0, done.stdout + done.stderr


def test_examples_pass_on_postgresql_and_leave_no_database(
    project: Path, postgres: PostgresServer, soak: bool
) -> None:
    (project / "test_store.py").write_text(
        "def test_store(chatcore_store):\n"
        "    assert type(chatcore_store.writes).__module__.startswith('chatcore_sqlalchemy')\n"
    )
    databases = "SELECT count(*) FROM pg_database WHERE datname LIKE 'chatcore_test_%'"
    # Each test makes a database, so the short form runs one file of the examples.
    files = () if soak else ("test_store.py", "test_unknown.py")
    done = run_pytest(project, f"--chatcore-store={postgres.url()}", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert postgres.sql(databases) == "0"


def test_wrong_store_is_refused_with_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    # The run ends before it would touch what a run has in common with another in its process.
    status = pytest.main(["-p", "chatcore_pytest", "--chatcore-store=mongodb://host"])
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "expected memory, sqlite or postgresql://…" in capsys.readouterr().err


@soak_only
def test_unreachable_server_is_named_as_the_cause(project: Path) -> None:
    url = f"postgresql://user:pa55word@/postgres?host={project}"
    done = run_pytest(project, f"--chatcore-store={url}", "test_shop.py")
    assert "cannot create a database for each test at the URL of --chatcore-store" in done.stdout
