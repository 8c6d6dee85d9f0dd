"""The disk under the running service is full."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.integration.durability.contents import find_wrong, read_histories
from tests.integration.durability.crowd import Crowd
from tests.support.api import api_at
from tests.support.figures import Figures
from tests.support.service import QuickService
from tests.support.soak import long


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(tmp_path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"only root can mount a small file system: {error}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@long
async def test_full_disk_is_a_503_until_there_is_room(
    small_disk: Path, soak: bool, figures: Figures
) -> None:
    ballast = small_disk / "ballast"
    service = QuickService(small_disk)
    crowd = await Crowd.gather(service, 4, Random(1))
    with service:
        async with api_at(service.url) as crowd.api:
            await crowd.talk_until(201, 50)
            for _ in range(10 if soak else 1):
                fill(ballast)
                # Not at once: first, new commits reuse the space of the WAL.
                await crowd.talk_until(503, 100)
                assert await crowd.histories() == read_histories(service.database_path)
                ballast.unlink()
                failures = crowd.statuses[503]
                await crowd.talk_until(201, 50)
                assert crowd.statuses[503] == failures
            assert find_wrong(service.database_path, crowd.ledger.sends) == []
    figures.survived(crowd.statuses[503], "answers of 503 on a full disk", crowd.ledger)


def fill(ballast: Path) -> None:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
