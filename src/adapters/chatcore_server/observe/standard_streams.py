"""Standard output and error that never wait for their reader.

A pipe that nobody reads is full after 64 KiB, and from then on every `write` to it waits: that
must not happen on the event loop, nor when the process stops. O_NONBLOCK is no way out, since it
would hold for every process that shares the pipe or the terminal.
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
"""How much waits for a reader. What comes after that is dropped, until all of it is written."""

END_SECONDS = 0.4
"""How long the end of the process waits for the reader, within the 5 seconds of a stop."""

BATCH_BYTES = 16 * 1024
"""How much is written at once: the thread has to win the interpreter's lock for each time."""

LOOK_SECONDS = 0.02

logger = logging.getLogger("chatcore")

_writers: dict[int, "_Writer"] = {}


def unblock_standard_streams() -> None:
    """Let standard output and error drop what their reader does not take. The number of lines
    that were dropped is logged when it reads again. At its end the process waits a moment for
    the last ones to be taken."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # A stream that was closed is None.
        if isinstance(stream, io.TextIOWrapper):
            stream.flush()
            setattr(sys, name, NonBlockingStream(stream))


def drain_all() -> None:
    """Wait a moment for what is written to be taken. At the end of the interpreter this happens
    by itself."""
    end = time.monotonic() + END_SECONDS
    for writer in set(_writers.values()):
        writer.drain(max(0, end - time.monotonic()))


def exit_now(status: int) -> NoReturn:
    """End the process without its usual ways, but for the last lines of its log."""
    drain_all()
    os._exit(status)


class NonBlockingStream(io.TextIOBase):
    """A text stream that hands on whole lines to a thread that writes them."""

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
        # One at a time: `print` writes a line in two parts.
        with self._writer.lock:
            self._line += text
            if self._line.endswith("\n"):
                lines, self._line = self._line, ""
                self._writer.put(lines.encode(self.encoding, "backslashreplace"))
        return len(text)


class _Writer:
    """Writes to one descriptor, in order, on a thread of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Reentrant, as that of a Condition is: what the garbage collector finalizes may log.
        self._changed = threading.Condition()
        self.lock = self._changed
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self._idle = True
        # A daemon: it may hang in `write` when the interpreter ends.
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
                # The reader has left, or the disk is full: nobody is there to tell.
                continue

    def _next(self) -> list[bytes]:
        """What to write next: together it fits a batch, or it is one."""
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
            logger.warning("nobody read the log for a while; %d lines of it were dropped", dropped)

    def _write(self, batch: list[bytes]) -> None:
        together = b"".join(batch)
        for piece in (together,) if self._has_room(len(together)) else batch:
            # Other processes write to the pipe as well, and this one may end at any time: what
            # is written in parts may stay in parts.
            while not self._has_room(len(piece)):
                time.sleep(LOOK_SECONDS)
            while piece:
                try:
                    piece = piece[os.write(self._descriptor, piece) :]
                except BlockingIOError:
                    # Another process has set O_NONBLOCK on what it shares with this one.
                    select.select((), (self._descriptor,), ())

    def _has_room(self, size: int) -> bool:
        """Whether that can be written as a whole, as far as this can be known."""
        if size <= select.PIPE_BUF or not hasattr(fcntl, "F_GETPIPE_SZ"):
            return True
        try:
            room = fcntl.fcntl(self._descriptor, fcntl.F_GETPIPE_SZ)
        except OSError:
            return True  # It is no pipe.
        unread = array.array("i", [0])
        fcntl.ioctl(self._descriptor, termios.FIONREAD, unread)
        # Half of it, since the pages of a pipe need not be full.
        return unread[0] == 0 or unread[0] + size <= room // 2


def _writer_of(descriptor: int) -> _Writer:
    """One for each file, so that lines keep their order where output and error are the same."""
    same = (each for each in _writers if os.path.sameopenfile(each, descriptor))
    if (other := next(same, None)) is not None:
        _writers[descriptor] = _writers[other]
    else:
        _writers[descriptor] = _Writer(descriptor)
    return _writers[descriptor]


atexit.register(drain_all)
