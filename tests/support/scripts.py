"""Python scripts that tests run as processes of their own."""

import subprocess
import sys
from textwrap import dedent
from typing import NamedTuple

from tests.support.repository import ROOT

SECONDS = 60

# A run that a shell started in the background ignores Ctrl-C, and its children inherit that.
PRELUDE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


class Ended(NamedTuple):
    """How a script ended."""

    status: int
    lines: list[str]
    """What it printed."""
    errors: str
    """What it wrote to standard error."""


def start_script(source: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start the script, in the repository's folder."""
    # Since 3.12, a fork beside another thread warns.
    ignore = "ignore:This process:DeprecationWarning"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-W", ignore, "-c", PRELUDE + dedent(source), *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> Ended:
    """Wait for the end of the script. Kills it when it hangs."""
    try:
        output, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Ended(process.returncode, output.split("\n")[:-1], errors)


def run_script(source: str, *arguments: str) -> Ended:
    return ended(start_script(source, *arguments))
