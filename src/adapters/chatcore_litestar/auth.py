"""Authentication of requests: sessions, cached for a minute, and the middleware that finds them."""

from collections.abc import Callable, Hashable
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, NamedTuple

from litestar.types import ASGIApp, Receive, Scope, Send

from chatcore import (
    Clock,
    InvalidHandle,
    InvalidName,
    InvalidToken,
    RequestHead,
    Session,
    UserErased,
    UserNotFound,
)
from chatcore.model import Seconds
from chatcore.ports import Authenticator
from chatcore_litestar.cross_site import Guard, same_origin_guard
from chatcore_litestar.errors import phrase
from chatcore_litestar.replies import Headers, Refuse, Reply, encode

if TYPE_CHECKING:
    from chatcore_litestar.context import Context

CACHE_SECONDS = 60.0
MAX_SESSIONS = 10_000
MAX_LOOKUPS = 3
"""How often a session is looked up for a request while its user changes."""

_EVERYONE = 0
"""Stands for every user among the ids of changed ones; no user has it."""

# What `Messenger.user` and `find_user` raise.
_NO_SUCH_USER = (InvalidHandle, InvalidName, UserErased, UserNotFound)


def refusal(
    status: int,
    code: str | None = None,  # noqa: ARG001, the shape of the fixed routes has neither
    detail: str = "",  # noqa: ARG001
    headers: Headers = (),
) -> Reply:
    return Reply(status, encode({"error": phrase(status)}), headers)


def authentication(context: "Context", refuse: Refuse = refusal) -> Callable[[ASGIApp], ASGIApp]:
    """Make middleware that sets `scope["user"]` to the User and `scope["auth"]` to the
    CachedSession, or answers 401. The origins of the context are those of `same_origin_guard`,
    which holds for ambient credentials alone. Raises ValueError for an invalid origin."""
    guard = same_origin_guard(context.origins, refuse)

    # A function: Litestar deep-copies what it registers, and a DefineMiddleware would get a copy
    # of the store.
    def middleware(app: ASGIApp) -> ASGIApp:
        return Authentication(app, context, refuse, guard)

    return middleware


class CachedSession(NamedTuple):
    """A session, its credential, and how long both may be cached."""

    credential: Hashable
    session: Session
    until: float
    """When to authenticate it again, by `Seconds`. It may expire earlier."""


def session_id_of(found: CachedSession) -> str | None:
    """Return the id of the device session; None if there is none."""
    claims = found.session.claims
    return None if claims is None else claims.session_id


class Sessions:
    """A bounded cache of sessions, since authenticating costs more than many a request.

    Each use checks the expiry by the wall clock. Whether the session was revoked or its user
    erased is checked every 60 s, by a clock that never steps back, so another node's change takes
    up to 60 s to show. `Changes` announces the changes of this process.
    """

    def __init__(self, authenticator: Authenticator, clock: Clock, seconds: Seconds) -> None:
        if iscoroutinefunction(authenticator.credential):
            raise TypeError(
                f"{type(authenticator).__name__}.credential is an async method; it must be a plain "
                "one, for only `session` may wait"
            )
        self.authenticator = authenticator
        self.ambient = authenticator.ambient
        self._clock = clock
        self._seconds = seconds
        self._cache: dict[Hashable, CachedSession] = {}
        self._lookups: dict[object, set[int]] = {}
        """Of each lookup under way, the ids of users that have changed since it began."""
        self._changed: set[int] = set()
        """The ids of users whose sessions `cached` drops first."""

    def cached(self, credential: Hashable) -> CachedSession | None:
        """Return the session if it is cached and still valid."""
        if self._changed:
            self._drop_changed()
        found = self._cache.get(credential)
        if found is not None:
            expires_at = found.session.expires_at
            if self._seconds() < found.until and (expires_at is None or self._clock() < expires_at):
                return found
            del self._cache[credential]
        return None

    async def find(self, credential: Hashable) -> CachedSession:
        """Return the session of the credential. Raises InvalidToken, Unavailable."""
        if (cached := self.cached(credential)) is not None:
            return cached
        now = self._seconds()
        for _ in range(MAX_LOOKUPS):
            session, changed = await self._look_up(credential)
            # Again, if its user changed during the lookup: the result may be from before.
            if not changed or changed.isdisjoint((session.user.id, _EVERYONE)):
                break
        else:
            # For this request alone. An authenticator that renames its user each time ends here.
            return CachedSession(credential, session, now)
        if self._changed:
            # Else the next use would drop this session, which is from after the change.
            self._drop_changed()
        if len(self._cache) >= MAX_SESSIONS:
            # Dicts keep insertion order: the oldest entry comes first.
            self._cache.pop(next(iter(self._cache)), None)
        found = CachedSession(credential, session, now + CACHE_SECONDS)
        self._cache[credential] = found
        return found

    async def _look_up(self, credential: Hashable) -> tuple[Session, set[int]]:
        """Return the session, and the users that changed during the lookup."""
        lookup, changed = object(), set[int]()
        self._lookups[lookup] = changed
        try:
            return await self._authenticate(credential), changed
        finally:
            del self._lookups[lookup]

    async def _authenticate(self, credential: Hashable) -> Session:
        try:
            session = await self.authenticator.session(credential)
        except _NO_SUCH_USER as refused:
            raise InvalidToken from refused
        if not isinstance(session, Session):
            raise TypeError(
                f"{type(self.authenticator).__name__}.session returned an object of the type "
                f"{type(session).__name__}; expected Session(user)"
            )
        if session.expires_at is not None and self._clock() >= session.expires_at:
            raise InvalidToken
        return session

    def seconds_left(self, found: CachedSession) -> float:
        """Seconds until `find` has to authenticate or refuse it; 0 or less if it has to now."""
        left = found.until - self._seconds()
        if (expires_at := found.session.expires_at) is not None:
            left = min(left, (expires_at - self._clock()).total_seconds())
        return left

    def forget(self, user_id: int) -> None:
        """Drop the user's sessions from the cache, so that each is authenticated again."""
        self._note(user_id)
        # One pass through the cache serves all users that a host renames together.
        self._changed.add(user_id)

    def forget_all(self) -> None:
        """Drop all sessions, so that each is authenticated again."""
        self._note(_EVERYONE)
        self._cache.clear()

    def _note(self, user_id: int) -> None:
        for changed in self._lookups.values():
            changed.add(user_id)

    def _drop_changed(self) -> None:
        changed, self._changed = self._changed, set()
        for credential, cached in [*self._cache.items()]:
            if cached.session.user.id in changed:
                del self._cache[credential]

    def forget_session(self, user_id: int, session_id: str) -> None:
        """Drop what was authenticated by a token of this device session."""
        self._note(user_id)
        for credential, cached in [*self._cache.items()]:
            if session_id_of(cached) == session_id:
                del self._cache[credential]


class Authentication:
    def __init__(self, app: ASGIApp, context: "Context", refuse: Refuse, guard: Guard) -> None:
        self._app = app
        self._guard = guard
        self._context = context
        self._address_of = context.address_of
        self._no_token = refuse(401, headers=[(b"www-authenticate", b"Bearer")])
        self._bad_token = refuse(
            401, headers=[(b"www-authenticate", b'Bearer error="invalid_token"')]
        )
        # No scheme of HTTP stands for a cookie or an address.
        self._ambient_refusal = refuse(401)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A CORS preflight carries no credential.
        if scope.get("method") == "OPTIONS":
            await self._app(scope, receive, send)
            return
        sessions = self._context.sessions
        ambient = sessions.ambient
        if ambient and (refusal := self._guard(scope)) is not None:
            await refusal(scope, receive, send)
            return
        try:
            credential = sessions.authenticator.credential(RequestHead(scope, self._address_of))
            if credential is None:
                refusal = self._ambient_refusal if ambient else self._no_token
                await refusal(scope, receive, send)
                return
            found = sessions.cached(credential) or await sessions.find(credential)
        except InvalidToken:
            refusal = self._ambient_refusal if ambient else self._bad_token
            await refusal(scope, receive, send)
            return
        if "user" in scope or "auth" in scope:
            await self._restoring(found, scope, receive, send)
            return
        scope["user"], scope["auth"] = found.session.user, found
        await self._app(scope, receive, send)

    async def _restoring(
        self, found: CachedSession, scope: Scope, receive: Receive, send: Send
    ) -> None:
        # The host's middleware may look at its own user after the answer.
        host = scope.get("user"), scope.get("auth")
        scope["user"], scope["auth"] = found.session.user, found
        try:
            await self._app(scope, receive, send)
        finally:
            scope["user"], scope["auth"] = host
