"""The customer's document, literally, on a service with default settings and on each store."""

from pathlib import Path

from tests.integration.contract.test_transcripts import replay
from tests.support.api import Api, api_at
from tests.support.service import CommandService

DOCUMENT = Path(__file__).with_name("document.txt")


async def test_document_works_on_a_fresh_service_with_default_settings(tmp_path: Path) -> None:
    with CommandService(tmp_path) as service:
        async with api_at(service.url) as api:
            await replay(DOCUMENT, api)


async def test_document_works_on_each_store(in_process: Api) -> None:
    await replay(DOCUMENT, in_process)
