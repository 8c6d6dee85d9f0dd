"""Bearer tokens (RFC 6750), verified once and cached for a minute."""

from collections.abc import Callable
from typing import NamedTuple

from litestar.types import ASGIApp, Receive, Scope, Send

from chatcore import Accounts, Clock, InvalidToken, Session
from chatcore.model import Seconds
from chatcore_litestar.replies import Headers, Reply

MAX_TOKEN = 4096
CACHE_SECONDS = 60.0
MAX_SESSIONS = 10_000

Unauthorized = Callable[[Headers], Reply]
"""Makes a 401 reply with the given headers."""


def unauthorized(headers: Headers) -> Reply:
    return Reply(401, b'{"error":"Unauthorized"}', headers)


def bearer_auth(
    sessions: "Sessions", unauthorized: Unauthorized = unauthorized
) -> Callable[[ASGIApp], ASGIApp]:
    """Make middleware that sets `scope["user"]` to the User and `scope["auth"]` to the
    VerifiedToken, or answers 401."""
    no_token = unauthorized([(b"www-authenticate", b"Bearer")])
    bad_token = unauthorized([(b"www-authenticate", b'Bearer error="invalid_token"')])

    # A function: Litestar deep-copies what it registers, and a DefineMiddleware would get a copy
    # of the store.
    def middleware(app: ASGIApp) -> ASGIApp:
        return BearerAuth(app, sessions, no_token, bad_token)

    return middleware


class VerifiedToken(NamedTuple):
    """A token, its session, and how long both may be cached."""

    token: str
    session: Session
    until: float
    """When to verify it again, by `Seconds`. It may expire earlier."""


class Sessions:
    """A bounded cache of verified tokens, since verifying costs more than many a request.

    Each use checks the token's expiry by the wall clock. Whether the token was revoked or its
    user erased is checked every 60 s, by a clock that never steps back, so another node's
    change takes up to 60 s to show. `Accounts.changes` announces the changes of this process.
    """

    def __init__(self, accounts: Accounts, clock: Clock, seconds: Seconds) -> None:
        self._accounts = accounts
        self._clock = clock
        self._seconds = seconds
        self._cache: dict[str, VerifiedToken] = {}
        self._forgotten = 0
        self._changed: set[int] = set()
        """The ids of users whose tokens `find` drops first."""
        accounts.changes.subscribe(self.forget)

    async def find(self, token: str) -> VerifiedToken:
        """Return the verified token. Raises InvalidToken, Unavailable."""
        now = self._seconds()
        if self._changed:
            self._drop_changed()
        cached = self._cache.get(token)
        if cached is not None:
            if now < cached.until and self._clock() < cached.session.claims.expires_at:
                return cached
            del self._cache[token]
        forgotten = None
        while forgotten != self._forgotten:
            # Again, if `forget` ran during the check: its result may be from before.
            forgotten = self._forgotten
            session = await self._accounts.authenticate(token)
        if len(self._cache) >= MAX_SESSIONS:
            # Dicts keep insertion order: the oldest entry comes first.
            self._cache.pop(next(iter(self._cache)), None)
        verified = self._cache[token] = VerifiedToken(token, session, now + CACHE_SECONDS)
        return verified

    def seconds_left(self, verified: VerifiedToken) -> float:
        """Seconds until `find` has to verify or refuse the token; 0 or less if it has to now."""
        expires = verified.session.claims.expires_at - self._clock()
        return min(verified.until - self._seconds(), expires.total_seconds())

    def forget(self, user_id: int) -> None:
        """Drop the user's tokens from the cache, so that each is verified again."""
        self._forgotten += 1
        # One pass through the cache serves all users that a host renames together.
        self._changed.add(user_id)

    def _drop_changed(self) -> None:
        changed, self._changed = self._changed, set()
        for token, cached in [*self._cache.items()]:
            if cached.session.user.id in changed:
                del self._cache[token]


class BearerAuth:
    def __init__(self, app: ASGIApp, sessions: Sessions, no_token: Reply, bad_token: Reply) -> None:
        self._app = app
        self._sessions = sessions
        self._no_token = no_token
        self._bad_token = bad_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A CORS preflight carries no token.
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
            verified = await self._sessions.find(tokens[0].decode("latin-1"))
        except InvalidToken:
            await self._bad_token(scope, receive, send)
            return
        scope["user"], scope["auth"] = verified.session.user, verified
        await self._app(scope, receive, send)


def _bearer_token(value: bytes) -> bytes:
    # httptools keeps white space at the end of a header.
    scheme, _, token = value.strip(b" \t").partition(b" ")
    return token.lstrip(b" ") if scheme.lower() == b"bearer" else b""
