"""The port of authentication: which user sends a request."""

from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

from chatcore.errors import InvalidToken
from chatcore.model import User
from chatcore.ports.services import Claims

Scope = Mapping[str, Any]


class RequestHead:
    """What an Authenticator sees of a request: everything but the body. Read only."""

    __slots__ = ("_address_of", "scope")

    def __init__(
        self, scope: Scope, address_of: Callable[[Any], str | None] = lambda _: None
    ) -> None:
        self.scope = scope
        """The ASGI scope, with what the host's middleware put there: `scope["user"]`,
        `scope["session"]`."""
        self._address_of = address_of

    @property
    def method(self) -> str:
        method: str = self.scope["method"]
        return method

    @property
    def path(self) -> str:
        path: str = self.scope["path"]
        return path

    @property
    def address(self) -> str | None:
        """The client address, behind trusted proxies too; None if it is unknown."""
        return self._address_of(self.scope)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names in lower case and values, in the order received."""
        headers: list[tuple[bytes, bytes]] = self.scope["headers"]
        return headers

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies, without quotes around values. Of two with one name, the last counts."""
        found = {}
        for header, line in self.headers:
            if header == b"cookie":
                for pair in line.decode("latin-1").split(";"):
                    name, _, value = pair.partition("=")
                    value = value.strip(" \t")
                    quoted = len(value) > 1 and value[0] == value[-1] == '"'
                    found[name.strip(" \t")] = value[1:-1] if quoted else value
        return found

    def bearer_token(self) -> str | None:
        """Return the token of the Authorization header (RFC 6750); None if there is none. Raises
        InvalidToken if the header is repeated."""
        headers, token = 0, b""
        # A plain loop: this runs for every request.
        for name, value in self.scope["headers"]:
            if name == b"authorization":
                headers += 1
                token = token or _bearer_token(value)
        if not token:
            return None
        if headers > 1:
            raise InvalidToken
        return token.decode("latin-1")


def _bearer_token(value: bytes) -> bytes:
    # httptools keeps white space at the end of a header.
    scheme, _, token = value.strip(b" \t").partition(b" ")
    return token.lstrip(b" ") if scheme.lower() == b"bearer" else b""


class Session(NamedTuple):
    """A user, authenticated by a credential."""

    user: User
    expires_at: datetime | None = None
    """When the session ends at the latest, as an aware datetime; None if that is unknown."""
    claims: Claims | None = None
    """Of chatcore's own token; None for a session of a host."""


@runtime_checkable
class Authenticator(Protocol):
    """Finds the user that sends a request.

    A session is cached by its credential: for 60 s at most, not beyond its expiry, and not after
    a change of its user was announced (`Messenger.changes`). An open stream asks again after each
    of these, and ends when the answer is InvalidToken.
    """

    @property
    def ambient(self) -> bool:
        """Whether browsers send the credential by themselves, as they do with cookies, client
        certificates and addresses. If so, requests that change anything are accepted only from
        pages of the host's own origin, and only with a body of JSON."""
        ...

    def credential(self, request: RequestHead) -> Hashable | None:
        """Return what identifies the session: a token, a session id, an id of the host's user.
        None if the request has none. Does no I/O. Raises InvalidToken.

        Two requests with equal credentials get the same session, so a credential holds all that
        `session` depends on.
        """
        ...

    async def session(self, credential: Hashable) -> Session:
        """Return the session of this credential. Raises InvalidToken, Unavailable. What
        `Messenger.user` and `find_user` refuse counts as InvalidToken."""
        ...
