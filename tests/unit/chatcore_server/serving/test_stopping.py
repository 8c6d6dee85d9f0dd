"""Stopping by signals, also by several at once."""

import subprocess
import sys

# Raises a second signal at the worst moment: while the handler of the first holds the lock of
# `threading.Event.set`.
TWICE = """
import signal, sys, threading
from chatcore_server.serving.stopping import stop_on_signals

stopping = stop_on_signals(lambda: None)

def trace(frame, event, _argument):
    if frame.f_code is threading.Event.set.__code__:
        def line(frame, event, _argument):
            if event == "line" and stopping._cond._lock.locked():
                sys.settrace(None)
                frame.f_trace = None
                signal.raise_signal(signal.SIGTERM)
            return line
        return line

sys.settrace(trace)
signal.raise_signal(signal.SIGTERM)
print(stopping.is_set(), sys.gettrace())
"""


def test_simultaneous_signals_stop_the_service_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("True None\n", "")
