"""The frozen wire: each transcript, over HTTP and in process on each store."""

from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.transcript import Replay, read_transcript

FILES = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
each_transcript = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


async def replay(file: Path, api: Api) -> None:
    run = Replay(api)
    for exchange in read_transcript(file):
        try:
            await run.run(exchange)
        except AssertionError as error:
            error.add_note(exchange.place)
            raise


@each_transcript
async def test_transcript_is_answered_exactly_over_http(file: Path, api: Api) -> None:
    await replay(file, api)


@each_transcript
async def test_transcript_is_answered_exactly_in_process(file: Path, in_process: Api) -> None:
    await replay(file, in_process)
