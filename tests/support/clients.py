"""HTTP clients that load no certificate store, which takes longer than most tests."""

from typing import Any

import httpx

SECONDS = 60


def client_at(url: str, **options: Any) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=SECONDS, verify=False, **options)  # noqa: S501


def get(url: str, *, timeout: float = SECONDS) -> httpx.Response:
    return httpx.get(url, timeout=timeout, verify=False)  # noqa: S501
