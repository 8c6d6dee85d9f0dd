"""Standard output and error that never block on a slow reader.

A pipe without a reader is full after 64 KiB; from then on every `write` blocks. That must not
happen on the event loop or during a stop. O_NONBLOCK would not do: it applies to every process
that shares the pipe or the terminal.
"""

import array
import atexit
import fcntl
import io
import logging
import os
import select
import sys
import termios
import threading
import time
from collections import deque
from typing import NoReturn

MAX_BYTES = 1024 * 1024
"""Limit of the buffer. Lines beyond it are dropped until the buffer is empty again."""

END_SECONDS = 0.4
"""How long an exiting process waits for the reader, within the 5 seconds of a stop."""

BATCH_BYTES = 16 * 1024
"""Written at once: for each write the thread has to win the interpreter's lock."""

POLL_SECONDS = 0.02

logger = logging.getLogger("chatcore")

_writers: dict[int, "_Writer"] = {}


def unblock_standard_streams() -> None:
    """Make standard output and error drop lines that their reader does not take.

    The number of dropped lines is logged once the reader continues. At exit the process waits
    END_SECONDS for the last lines to be written.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # A closed stream is None.
        if isinstance(stream, io.TextIOWrapper):
            stream.flush()
            setattr(sys, name, NonBlockingStream(stream))


def drain_all() -> None:
    """Wait up to END_SECONDS for buffered lines to be written. Runs at interpreter exit too."""
    end = time.monotonic() + END_SECONDS
    for writer in set(_writers.values()):
        writer.drain(max(0, end - time.monotonic()))


def exit_now(status: int) -> NoReturn:
    """End the process without cleanup, except for writing the last lines of its log."""
    drain_all()
    os._exit(status)


class NonBlockingStream(io.TextIOBase):
    """A text stream that passes whole lines to a thread, which writes them."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self._writer = _writer_of(stream.fileno())
        self._line = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        # `print` writes a line in two parts, which must stay together.
        with self._writer.lock:
            self._line += text
            if self._line.endswith("\n"):
                lines, self._line = self._line, ""
                self._writer.put(lines.encode(self.encoding, "backslashreplace"))
        return len(text)


class _Writer:
    """Writes to one descriptor, in order, on its own thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # A Condition's lock is reentrant: a finalizer may log while this thread holds it.
        self._changed = threading.Condition()
        self.lock = self._changed
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self._idle = True
        # A daemon, since it may hang in `write` when the interpreter exits.
        threading.Thread(target=self._run, name="chatcore-output", daemon=True).start()

    def put(self, lines: bytes) -> None:
        with self._changed:
            if self._dropped or self._bytes + len(lines) > MAX_BYTES:
                self._dropped += lines.count(b"\n")
                return
            self._waiting.append(lines)
            self._bytes += len(lines)
            if self._idle:
                self._idle = False
                self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._idle, seconds)

    def _run(self) -> None:
        while True:
            try:
                self._write(self._next())
            except OSError:
                # The reader has left or the disk is full; there is no place to report it.
                continue

    def _next(self) -> list[bytes]:
        """Wait for lines; return as many as fit a batch, but at least one."""
        while True:
            with self._changed:
                while not self._waiting and not self._dropped:
                    self._idle = True
                    self._changed.notify_all()
                    self._changed.wait()
                batch: list[bytes] = []
                size = 0
                while self._waiting and (not batch or size + len(self._waiting[0]) <= BATCH_BYTES):
                    batch.append(self._waiting.popleft())
                    size += len(batch[-1])
                self._bytes -= size
                if batch:
                    return batch
                dropped, self._dropped = self._dropped, 0
            logger.warning("the log had no reader for a while; %d lines were dropped", dropped)

    def _write(self, batch: list[bytes]) -> None:
        joined = b"".join(batch)
        for piece in (joined,) if self._has_room(len(joined)) else batch:
            # Other processes write to the pipe too, and this process may end at any time: a line
            # written in parts could stay torn.
            while not self._has_room(len(piece)):
                time.sleep(POLL_SECONDS)
            while piece:
                try:
                    piece = piece[os.write(self._descriptor, piece) :]
                except BlockingIOError:
                    # Another process has set O_NONBLOCK on the shared pipe or terminal.
                    select.select((), (self._descriptor,), ())

    def _has_room(self, size: int) -> bool:
        """Whether that many bytes can probably be written as a whole."""
        if size <= select.PIPE_BUF or not hasattr(fcntl, "F_GETPIPE_SZ"):
            return True
        try:
            room = fcntl.fcntl(self._descriptor, fcntl.F_GETPIPE_SZ)
        except OSError:
            return True  # Not a pipe.
        unread = array.array("i", [0])
        fcntl.ioctl(self._descriptor, termios.FIONREAD, unread)
        # Count on half the capacity, since the pages of a pipe may be partly filled.
        return unread[0] == 0 or unread[0] + size <= room // 2


def _writer_of(descriptor: int) -> _Writer:
    """One writer for each file, so that lines keep their order if output and error are one file."""
    same = (each for each in _writers if os.path.sameopenfile(each, descriptor))
    if (other := next(same, None)) is not None:
        _writers[descriptor] = _writers[other]
    else:
        _writers[descriptor] = _Writer(descriptor)
    return _writers[descriptor]


atexit.register(drain_all)
