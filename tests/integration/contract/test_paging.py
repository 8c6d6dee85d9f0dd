"""Route 6 in pages: following the links shows every message once, from either end."""

import re

import httpx
import pytest

from tests.support.api import Api, Someone

COUNT = 23
LINK = re.compile(r'<(\?[^>]*)>; rel="(prev|next)"')


def links(page: httpx.Response) -> dict[str, str]:
    """The link targets by relation: relative references, a query on the requested path."""
    return {relation: target for target, relation in LINK.findall(page.headers.get("link", ""))}


async def walk(api: Api, by: Someone, name: str, query: str, relation: str) -> list[list[object]]:
    pages = []
    while True:
        page = await api.read(by, name, query)
        assert page.status_code == 200
        pages.append(page.json())
        if relation not in links(page):
            return pages
        query = links(page)[relation]


@pytest.mark.parametrize("limit", [1, 2, 7, COUNT - 1, COUNT, COUNT + 1, 200])
async def test_links_lead_through_the_whole_history(api: Api, limit: int) -> None:
    ann, bob = await api.chat()
    for n in range(COUNT):
        await api.send(*((ann, bob.name) if n % 3 else (bob, ann.name)), f"{n + 1}")
    history = (await api.read(ann, bob.name)).json()
    assert [item["message"] for item in history] == [f"{n + 1}" for n in range(COUNT)]

    back = await walk(api, ann, bob.name, f"?limit={limit}", "prev")
    assert [item for page in reversed(back) for item in page] == history
    assert [len(page) for page in back[:-1]] == [limit] * (len(back) - 1)
    forth = await walk(api, bob, ann.name, f"?limit={limit}&after=0", "next")
    assert [item for page in forth for item in page] == history
    assert [len(page) for page in forth[:-1]] == [limit] * (len(forth) - 1)


async def test_links_are_absent_at_the_ends(api: Api) -> None:
    ann, bob = await api.chat()
    assert links(await api.read(ann, bob.name, "?limit=2")) == {}
    for text in "abc":
        await api.send(ann, bob.name, text)
    for query, relations in {
        "": set[str](),
        "?limit=3": set(),
        "?limit=2": {"prev"},
        "?limit=1&before=3": {"prev", "next"},
        "?limit=2&before=3": {"next"},
        "?limit=2&after=0": {"next"},
        "?limit=1&after=1": {"prev", "next"},
        "?limit=2&after=1": {"prev"},
    }.items():
        assert links(await api.read(ann, bob.name, query)).keys() == relations, query
