"""The bridge at the end of its process and in forked processes."""

import signal
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.scripts import ended, run_script, start_script

OPEN = """
import os, sys, threading, time
from chatcore import UserName
from chatcore.blocking import Bridge, per_process
from chatcore_memory import MemoryStore

class Store(MemoryStore):
    async def close(self):
        print("closed in", "the parent" if os.getpid() == PARENT else "the child", flush=True)

async def open_store():
    return Store()

PARENT = os.getpid()
bridge = Bridge()
store = bridge.open(open_store)
messenger = bridge.messenger(store)
ann, bob = [bridge.call(store.add_user, UserName(name), "", 0) for name in ("ann", "bob")]
chat = messenger.open_chat(ann, bob)
"""
CLOSED = "closed in the parent"


@pytest.mark.parametrize(("last", "status"), [("", 0), ("sys.exit(3)", 3)])
def test_exit_closes_an_open_bridge(last: str, status: int) -> None:
    assert run_script(OPEN + last) == (status, [CLOSED], "")


def test_an_uncaught_error_closes_an_open_bridge() -> None:
    status, lines, errors = run_script(OPEN + "messenger.send(ann, chat, '')")
    assert (status, lines) == (1, [CLOSED])
    assert errors.splitlines()[-1].startswith("chatcore.errors.InvalidText: a message has 1 to")


def test_exit_reports_a_store_that_fails_to_close() -> None:
    script = """
    class Failing:
        async def close(self):
            raise OSError("the disk is full")

    async def open_failing():
        return Failing()

    bridge.open(open_failing)
    """
    status, lines, errors = run_script(OPEN + dedent(script))
    assert (status, lines) == (0, [CLOSED])
    assert errors.splitlines()[-1] == "OSError: the disk is full"


def test_exit_does_not_wait_for_ever() -> None:
    script = """
    import asyncio
    from chatcore.blocking import thread

    class Stuck:
        async def close(self):
            await asyncio.Event().wait()

    async def open_stuck():
        return Stuck()

    bridge.open(open_stuck)
    thread.EXIT_SECONDS = 0.1
    """
    assert run_script(OPEN + dedent(script)) == (0, [], "")


def test_exit_ends_daemon_threads_quietly() -> None:
    # Some wait for an event, others call without a pause.
    script = """
    def listen():
        for event in messenger.follow(ann):
            pass

    def wait():
        while True:
            messenger.follow(ann).batch(600)

    def poll():
        while True:
            messenger.state(ann, chat.id)

    for work in (listen, wait, poll) * 3:
        threading.Thread(target=work, daemon=True).start()
    for _ in range(100):
        messenger.send(bob, chat, "hello")
    """
    assert run_script(OPEN + dedent(script)) == (0, [CLOSED], "")


def test_other_threads_finish_their_work_after_the_main_thread() -> None:
    script = """
    def work():
        threading.main_thread().join()
        for _ in range(100):
            messenger.send(bob, chat, "hello")
        print(messenger.page(ann, chat).messages[-1].seq, flush=True)

    threading.Thread(target=work).start()
    """
    assert run_script(OPEN + dedent(script)) == (0, ["100", CLOSED], "")


def test_exit_functions_of_the_program_can_still_call() -> None:
    script = """
    import atexit
    atexit.register(lambda: print(messenger.send(bob, chat, "bye").seq, flush=True))
    """
    assert run_script(OPEN + dedent(script)) == (0, ["1", CLOSED], "")


def test_an_interrupt_ends_a_program_that_follows() -> None:
    script = """
    following = messenger.follow(ann, after=messenger.sync(ann).cursor)
    messenger.send(bob, chat, "hello")
    for event in following:
        print(event.message.text, flush=True)
    """
    process = start_script(OPEN + dedent(script))
    assert process.stdout
    assert process.stdout.readline() == "hello\n"
    process.send_signal(signal.SIGINT)
    status, lines, errors = ended(process)
    assert (status, lines) == (-signal.SIGINT, [CLOSED])
    assert errors.splitlines()[-1] == "KeyboardInterrupt"


FORK = """
def fork(work):
    sys.stdout.flush()
    if (pid := os.fork()) == 0:
        try:
            work()
        except RuntimeError as error:
            print(error, flush=True)
        sys.exit(0)
    print("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def test_a_forked_process_is_told_to_open_its_own_bridge() -> None:
    script = """
    following = messenger.follow(ann)
    threading.Thread(target=lambda: list(following), daemon=True).start()
    fork(lambda: messenger.send(ann, chat, "from the child"))
    fork(lambda: next(following))
    fork(bridge.close)
    print(messenger.send(ann, chat, "from the parent").seq, flush=True)
    """
    status, lines, errors = run_script(OPEN + FORK + dedent(script))
    refusals = [line for line in lines if line.startswith("this bridge belongs to process")]
    assert len(refusals) == 2
    assert refusals[0].endswith(
        "open a bridge in each process, for example with chatcore.blocking.per_process"
    )
    rest = [line for line in lines if line not in refusals]
    assert (status, rest, errors) == (0, [*["status 0"] * 3, "1", CLOSED], "")


def test_a_process_forked_during_a_call_exits() -> None:
    script = """
    locked = threading.Event()

    def call():
        with bridge._loop._lock:
            locked.set()
            forked.wait()

    forked = threading.Event()
    calling = threading.Thread(target=call)
    calling.start()
    locked.wait()
    fork(lambda: None)
    forked.set()
    """
    assert run_script(OPEN + FORK + dedent(script)) == (0, ["status 0", CLOSED], "")


def test_a_forked_process_can_open_its_own_bridge() -> None:
    script = """
    def chat_again():
        with Bridge() as own:
            own.open(open_store)

    fork(chat_again)
    """
    outcome = run_script(OPEN + FORK + dedent(script))
    assert outcome == (0, ["closed in the child", "status 0", CLOSED], "")


def test_per_process_opens_once_in_each_process() -> None:
    script = """
    bridge.close()

    @per_process
    def opened():
        print("opened", flush=True)
        bridge = Bridge()
        return bridge, bridge.open(open_store)

    # Forked before the first use, as by a preloading server, and after it.
    fork(opened)
    threads = [threading.Thread(target=opened) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    fork(lambda: (opened(), opened()))
    """
    outcome = run_script(OPEN + FORK + dedent(script))
    child = ["opened", "closed in the child", "status 0"]
    assert outcome == (0, [CLOSED, *child, "opened", *child, CLOSED], "")


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_processes_of_multiprocessing_work(tmp_path: Path, method: str) -> None:
    tmp_path.joinpath("hosted.py").write_text(HOSTED)
    script = f"""
    import multiprocessing, sys
    sys.path.insert(0, {str(tmp_path)!r})
    import hosted

    if __name__ == "__main__":
        hosted.work("parent")
        process = multiprocessing.get_context({method!r}).Process(
            target=hosted.work, args=("child",)
        )
        process.start()
        process.join()
        print("status", process.exitcode)
    """
    tmp_path.joinpath("main.py").write_text(dedent(script))
    runner = f"import runpy; runpy.run_path({str(tmp_path / 'main.py')!r}, run_name='__main__')"
    status, lines, errors = run_script(runner)
    assert (status, lines, errors) == (0, ["parent 1", "child 1", "status 0"], "")


HOSTED = """
from chatcore import UserName
from chatcore.blocking import Bridge, per_process
from chatcore_memory import MemoryStore

@per_process
def chat():
    bridge = Bridge()
    store = MemoryStore()
    users = [bridge.call(store.add_user, UserName(name), "", 0) for name in ("ann", "bob")]
    return bridge.messenger(store), users

def work(name):
    messenger, (ann, bob) = chat()
    print(name, messenger.send(ann, messenger.open_chat(ann, bob), "hello").seq, flush=True)
"""
