"""Requests that a page of another origin makes a browser send (cross-site request forgery).

They matter where the credential is ambient: the browser adds a cookie, a client certificate or its
address to them. A bearer token it never adds.
"""

import re
from collections.abc import Callable, Iterable

from litestar.types import Scope

from chatcore_litestar.replies import Refuse, Reply
from chatcore_litestar.requests import UnsupportedType, check_type

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

# As browsers write it (RFC 6454, section 6.2).
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")

Guard = Callable[[Scope], Reply | None]
"""Returns the reply that refuses the request; None if it may pass."""


def same_origin_guard(origins: Iterable[str], refuse: Refuse) -> Guard:
    """Let requests that may change something pass only from pages of the service's own origin or of
    `origins`, and only without a body or with a body labelled as JSON.

    A browser marks them with `Sec-Fetch-Site: same-origin`. Over plain HTTP, and in browsers from
    before 2023, there is no such mark: there, `origins` must have the page's own. Raises ValueError
    for an origin that no browser sends.
    """
    allowed = {_as_sent(origin) for origin in origins}
    foreign = refuse(
        403,
        "cross_origin",
        "only pages of the service's own origin, or of its setting `origins`, may send this",
    )
    mislabelled = refuse(415, UnsupportedType.code, "the Content-Type must be application/json")

    def guard(scope: Scope) -> Reply | None:
        if scope.get("method") in SAFE_METHODS:
            return None
        headers = dict(scope["headers"])
        if (
            headers.get(b"sec-fetch-site") != b"same-origin"
            and headers.get(b"origin") not in allowed
        ):
            return foreign
        return None if _is_labelled(headers) else mislabelled

    return guard


def _as_sent(origin: str) -> bytes:
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(f"not an origin such as https://shop.example: {origin!r}")
    # Browsers leave out the port that the scheme implies.
    implied = ":443" if origin.startswith("https:") else ":80"
    return origin.removesuffix(implied).encode()


def _is_labelled(headers: dict[bytes, bytes]) -> bool:
    """Whether the request has no body, or one labelled as JSON."""
    if (label := headers.get(b"content-type")) is not None:
        try:
            check_type(label)
        except UnsupportedType:
            return False
        return True
    return headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
