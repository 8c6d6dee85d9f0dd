"""Bearer tokens (RFC 6750), checked once and remembered for a minute."""

from collections.abc import Callable
from typing import NamedTuple

from litestar.types import ASGIApp, Receive, Scope, Send

from chatcore import Accounts, Clock, InvalidToken, Session
from chatcore.model import Seconds
from chatcore_litestar.replies import Headers, Reply

MAX_TOKEN = 4096
TRUSTED_SECONDS = 60.0
MAX_SESSIONS = 10_000

Unauthorized = Callable[[Headers], Reply]
"""Makes an answer of status 401 with these headers."""


def unauthorized(headers: Headers) -> Reply:
    return Reply(401, b'{"error":"Unauthorized"}', headers)


def bearer_auth(
    sessions: "Sessions", unauthorized: Unauthorized = unauthorized
) -> Callable[[ASGIApp], ASGIApp]:
    """Middleware that puts the user into `scope["user"]` and what proves it, Trusted, into
    `scope["auth"]`, or answers 401."""
    no_token = unauthorized([(b"www-authenticate", b"Bearer")])
    bad_token = unauthorized([(b"www-authenticate", b'Bearer error="invalid_token"')])

    # A function, for Litestar copies what it registers, deeply: a DefineMiddleware would get
    # accounts of its own, on a copy of the store.
    def middleware(app: ASGIApp) -> ASGIApp:
        return BearerAuth(app, sessions, no_token, bad_token)

    return middleware


class Trusted(NamedTuple):
    token: str
    session: Session
    until: float
    """When to ask for it again, by `Seconds`; it may expire before."""


class Sessions:
    """The tokens that were valid a moment ago.

    Verifying a token costs more than the rest of many a request. The expiry is checked every
    time, by the wall clock, which tokens go by; that the token is not void and the user still
    exists, every 60 s, by a clock that never steps back: so long it may take until what another
    node did is known here. What this process does is announced by `Accounts.changes`.
    """

    def __init__(self, accounts: Accounts, clock: Clock, seconds: Seconds) -> None:
        self._accounts = accounts
        self._clock = clock
        self._seconds = seconds
        self._known: dict[str, Trusted] = {}
        self._forgotten = 0
        accounts.changes.subscribe(self.forget)

    async def find(self, token: str) -> Trusted:
        """Raises InvalidToken, Unavailable."""
        now = self._seconds()
        known = self._known.get(token)
        if known is not None:
            if now < known.until and self._clock() < known.session.claims.expires_at:
                return known
            del self._known[token]
        forgotten = None
        while forgotten != self._forgotten:
            # Once more when the answer may be of before the forgetting.
            forgotten = self._forgotten
            session = await self._accounts.authenticate(token)
        if len(self._known) >= MAX_SESSIONS:
            # The oldest entry, since dictionaries keep their order.
            self._known.pop(next(iter(self._known)), None)
        found = self._known[token] = Trusted(token, session, now + TRUSTED_SECONDS)
        return found

    def seconds_left(self, trusted: Trusted) -> float:
        """For how long no question is needed; 0 or less when it is."""
        expires = trusted.session.claims.expires_at - self._clock()
        return min(trusted.until - self._seconds(), expires.total_seconds())

    def forget(self, user_id: int) -> None:
        """From now on ask for every token of the user anew."""
        self._forgotten += 1
        for token, known in [*self._known.items()]:
            if known.session.user.id == user_id:
                del self._known[token]


class BearerAuth:
    def __init__(self, app: ASGIApp, sessions: Sessions, no_token: Reply, bad_token: Reply) -> None:
        self._app = app
        self._sessions = sessions
        self._no_token = no_token
        self._bad_token = bad_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A CORS preflight never carries a token.
        if scope.get("method") == "OPTIONS":
            await self._app(scope, receive, send)
            return
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        tokens = [token for value in sent if (token := _bearer_token(value))]
        if not tokens:
            await self._no_token(scope, receive, send)
            return
        try:
            if len(sent) > 1 or len(tokens[0]) > MAX_TOKEN:
                raise InvalidToken
            trusted = await self._sessions.find(tokens[0].decode("latin-1"))
        except InvalidToken:
            await self._bad_token(scope, receive, send)
            return
        scope["user"], scope["auth"] = trusted.session.user, trusted
        await self._app(scope, receive, send)


def _bearer_token(value: bytes) -> bytes:
    # Stripped: httptools leaves the white space at the end of a header.
    scheme, _, token = value.strip(b" \t").partition(b" ")
    return token.lstrip(b" ") if scheme.lower() == b"bearer" else b""
