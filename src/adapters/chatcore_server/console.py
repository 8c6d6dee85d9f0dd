"""Output of the commands on the terminal: one printable line at a time."""

import contextlib
import io
import os
import sys
import time
from typing import TextIO


def prepare() -> None:
    """Escape characters that the terminal cannot show, for example in a path."""
    for stream in (sys.stdout, sys.stderr):
        # A closed stream is None.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """Print a line on standard output."""
    _write(sys.stdout, line)


def say_progress(line: str) -> None:
    """Print a line on standard error, so that standard output holds only results."""
    _write(sys.stderr, line)


def complain(line: str) -> None:
    """Print an error or a warning on standard error."""
    _write(sys.stderr, f"chatcore: {line}")


class Pace:
    """Limits progress reports to one every `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def is_due(self) -> bool:
        now = time.monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True


def flush() -> None:
    """Flush standard output before the process exits; a reader that left is no error."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # Python would flush again at exit, fail again, and print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(stream: TextIO, line: str) -> None:
    # The reader may have left.
    with contextlib.suppress(OSError):
        print(_one_line(line), file=stream, flush=True)


def _one_line(line: str) -> str:
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in line
    )
