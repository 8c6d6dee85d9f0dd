"""Synchronous programs on a database: opening, exit, fork and reload."""

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatcore import KeyReused, MessageSent
from chatcore.blocking import Bridge, Messenger
from chatcore_memory import InsecureTestHasher, InsecureTestTokens
from chatcore_notify import NotifyDoorbell
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore
from tests.support.scripts import run_script
from tests.support.threads import SECONDS, in_thread

HOST = """
import os, sys, threading
from chatcore.blocking import Bridge, per_process
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore
from chatcore_memory import InsecureTestHasher, InsecureTestTokens

@per_process
def chat():
    bridge = Bridge()
    store = bridge.open(SqlAlchemyStore.open, {url!r})
    accounts = bridge.accounts(store, InsecureTestHasher(), InsecureTestTokens(b"secret"))
    return accounts, bridge.messenger(store)

def send(text):
    accounts, messenger = chat()
    ann = messenger.find_user("ann")
    return messenger.send(ann, messenger.chat_with(ann, "bob"), text).seq

def register():
    accounts, messenger = chat()
    ann, bob = [accounts.register(name, "correct horse") for name in ("ann", "bob")]
    messenger.open_chat(ann, bob)
"""


@pytest.fixture
def host(url: str) -> str:
    return HOST.format(url=url)


def texts(url: str) -> list[str]:
    """All messages of the chat that `host` made."""
    with Bridge() as bridge:
        messenger = bridge.messenger(bridge.open(SqlAlchemyStore.open, url))
        ann = messenger.find_user("ann")
        pieces = messenger.history(ann, messenger.chat_with(ann, "bob"))
        return [message.text for piece in pieces for message in piece]


def test_synchronous_program_chats(url: str) -> None:
    with Bridge() as bridge:
        store = bridge.open(SqlAlchemyStore.open, url)
        accounts = bridge.accounts(store, InsecureTestHasher(), InsecureTestTokens(b"secret"))
        messenger = bridge.messenger(store)
        ann, bob = (accounts.register(name, "correct horse") for name in ("ann", "bob"))
        chat = messenger.ensure_chat(ann, bob).chat
        following = messenger.follow(bob, after=messenger.sync(bob).cursor)
        listening = in_thread(lambda: [next(following) for _ in range(40)])
        senders = [
            in_thread(lambda: [messenger.send(ann, chat, "hello").seq for _ in range(5)])
            for _ in range(8)
        ]
        seqs = [future.result(SECONDS) for future in senders]
        assert sorted(seq for part in seqs for seq in part) == [*range(1, 41)]
        events = listening.result(SECONDS)
        assert [event.message.seq for event in events if isinstance(event, MessageSent)] == [
            *range(1, 41)
        ]
        assert messenger.send_once(ann, chat, "once", "key").message.seq == 41
        assert messenger.send_once(ann, chat, "once", "key").replayed
        with pytest.raises(KeyReused):
            messenger.send_once(ann, chat, "twice", "key")
        bridge.call(store.check_writes)
    assert texts(url) == [*["hello"] * 40, "once"]


def test_bridges_ring_for_each_other(postgres_url: str) -> None:
    def opened(bridge: Bridge) -> Messenger:
        store = bridge.open(SqlAlchemyStore.open, postgres_url)
        doorbell = bridge.open(NotifyDoorbell.open, postgres_url)
        # Without rings, events would come in ten minutes.
        return bridge.messenger(store, doorbell=doorbell, poll_seconds=600)

    with Bridge() as first, Bridge() as second:
        messenger, elsewhere = opened(first), opened(second)
        store = first.open(SqlAlchemyStore.open, postgres_url)
        accounts = first.accounts(store, InsecureTestHasher(), InsecureTestTokens(b"secret"))
        ann, bob = (accounts.register(name, "correct horse") for name in ("ann", "bob"))
        following = elsewhere.follow(bob)
        following.start()
        listening = in_thread(lambda: next(following))
        chat = messenger.open_chat(ann, bob)
        assert getattr(listening.result(SECONDS), "chat", None) == chat


def test_an_error_of_opening_keeps_its_class(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chatcore.db"
    with Bridge() as first, Bridge() as second:
        first.open(SqlAlchemyStore.open, url)
        with pytest.raises(CannotOpen):
            second.open(SqlAlchemyStore.open, url)
        first.close()
        second.open(SqlAlchemyStore.open, url)


def test_forks_open_a_store_of_their_own_and_exit_closes_it(
    host: str, url: str, path: Path
) -> None:
    # On SQLite, the second of two processes is refused as ever.
    script = """
def fork(text):
    if (pid := os.fork()) == 0:
        try:
            print("child", send(text), flush=True)
        except CannotOpen as error:
            print("refused", flush=True)
        sys.exit(0)
    print("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)

with Bridge() as bridge:
    store = bridge.open(SqlAlchemyStore.open, sys.argv[1])
    accounts = bridge.accounts(store, InsecureTestHasher(), InsecureTestTokens(b"secret"))
    ann, bob = [accounts.register(name, "correct horse") for name in ("ann", "bob")]
    bridge.messenger(store).open_chat(ann, bob)
fork("before the parent's first use")
print("parent", send("from the parent"), flush=True)
fork("after the parent's first use")

def listen():
    accounts, messenger = chat()
    for event in messenger.follow(messenger.find_user("ann")):
        pass
threading.Thread(target=listen, daemon=True).start()
print("parent", send("from the parent"), flush=True)
sys.exit(3)
"""
    before, after = "before the parent's first use", "after the parent's first use"
    outcome = run_script(host + script, url)
    if url.startswith("sqlite"):
        said = ["child 1", "status 0", "parent 2", "refused", "status 0", "parent 3"]
        stored = [before, "from the parent", "from the parent"]
    else:
        said = ["child 1", "status 0", "parent 2", "child 3", "status 0", "parent 4"]
        stored = [before, "from the parent", after, "from the parent"]
    assert outcome == (3, said, "")
    # SQLite removes the write-ahead log when the last connection closes.
    assert not path.with_name("chatcore.db-wal").exists()
    assert texts(url) == stored


@pytest.fixture
def importable(tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = "chat_of_a_reloading_host"
    tmp_path.joinpath(f"{name}.py").write_text(host)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    del sys.modules[name]


def test_a_reloaded_module_opens_its_store_again(importable: str) -> None:
    module = importlib.import_module(importable)
    module.register()
    threads = threading.active_count()
    for n in range(1, 6):
        assert module.send(f"{n}") == n
        assert threading.active_count() == threads
        importlib.reload(module)
