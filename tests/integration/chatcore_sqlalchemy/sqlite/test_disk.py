"""A full disk: writes fail, reads work, and writes succeed once there is room."""

import asyncio
import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from chatcore import Sent, StoreUnavailable
from chatcore.testing.scene import ann_and_bob, read_all, send
from chatcore_sqlalchemy import SqlAlchemyStore

TEXT = "x" * 4000


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """A callable that fills a disk of 4 MiB under the folder."""
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"only root can mount a small file system: {error}")

    @contextmanager
    def full() -> Iterator[None]:
        with contextlib.suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        yield
        (folder / "ballast").unlink()

    try:
        yield full
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def small_files(folder: Path) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """A callable that forbids this process to grow any file."""

    @contextmanager
    def full() -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        largest = max(os.stat(folder / name).st_size for name in os.listdir(folder))
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    yield full


@pytest.mark.parametrize("disk", [small_disk, small_files])
async def test_full_disk_fails_writes_until_there_is_room(
    disk: Callable[[Path], AbstractContextManager[Callable[[], AbstractContextManager[None]]]],
    tmp_path: Path,
) -> None:
    with disk(tmp_path) as full:
        async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/chatcore.db") as store:
            chat, ann, _ = await ann_and_bob(store)
            acknowledged = [(await send(store, chat, ann, TEXT)).message]
            for _ in range(3):
                with full():
                    failures = 0
                    # Not at once: first the WAL is reused from its start.
                    while failures < 30:
                        calls = (send(store, chat, ann, TEXT) for _ in range(10))
                        for outcome in await asyncio.gather(*calls, return_exceptions=True):
                            if isinstance(outcome, Sent):
                                acknowledged.append(outcome.message)
                            else:
                                assert isinstance(outcome, StoreUnavailable)
                                failures += 1
                    assert await read_all(store, chat) == acknowledged
                    assert await store.last_seq(chat.id) == len(acknowledged)
                acknowledged += [(await send(store, chat, ann, TEXT)).message for _ in range(10)]
        async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/chatcore.db") as store:
            assert await read_all(store, chat) == acknowledged
            assert [it.seq for it in acknowledged] == [*range(1, len(acknowledged) + 1)]


@pytest.mark.parametrize("noticed", ["by a send", "by its mount"])
async def test_store_reports_whether_a_write_would_succeed(
    noticed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/chatcore.db") as store:
        chat, ann, _ = await ann_and_bob(store)
        before = store.writes.items
        await store.check_writes()
        assert store.writes.items == before
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            if noticed == "by a send":
                with pytest.raises(StoreUnavailable):
                    await send(store, chat, ann, TEXT)
            else:
                read_only = os.statvfs_result((0,) * 8 + (os.ST_RDONLY, 0))
                monkeypatch.setattr(os, "statvfs", lambda _: read_only)
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await store.check_writes()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        await store.check_writes()
        monkeypatch.undo()
        before, log = store.writes.items, (await store.end_of_log(ann.id)).log
        await store.check_writes()
        assert store.writes.items == before
    async with await SqlAlchemyStore.open(f"sqlite:///{tmp_path}/chatcore.db") as store:
        assert (await store.end_of_log(ann.id)).log == log
