"""An Authenticator by the user that the host's own middleware found."""

from collections.abc import Awaitable, Callable
from typing import Any

from chatcore import InvalidToken, Messenger, RequestHead, Session


class RequestUser:
    """An Authenticator by the host's own user, `request.user`: what the host's authentication
    middleware left in `scope["user"]`.

    `person` takes that object and returns the handle and the name to show, or None if nobody is
    logged in; it is called for every request, so it does no I/O. The user is added, or renamed, by
    `messenger.user`.

    `ambient` says whether browsers send the host's credential by themselves, as they do with a
    session cookie. Pass False only if the host's middleware reads nothing but a header that pages
    of other origins cannot send, such as Authorization.

    The host's middleware judges each request, but an open stream is one request. `still_valid`
    takes the handle and says whether that user may go on; it is asked once a minute. Without it, a
    stream ends at its maximum age (an hour), or at once by `messenger.changes.announce(user.id)`.
    """

    def __init__(
        self,
        messenger: Messenger,
        person: Callable[[Any], tuple[str, str] | None],
        *,
        ambient: bool = True,
        still_valid: Callable[[str], Awaitable[bool]] | None = None,
    ) -> None:
        self.ambient = ambient
        self._messenger = messenger
        self._person = person
        self._still_valid = still_valid

    def credential(self, request: RequestHead) -> tuple[str, str] | None:
        user = request.scope.get("user")
        return None if user is None else self._person(user)

    async def session(self, credential: Any) -> Session:
        handle, name = credential
        if self._still_valid is not None and not await self._still_valid(handle):
            raise InvalidToken
        return Session(await self._messenger.user(handle, name=name))
