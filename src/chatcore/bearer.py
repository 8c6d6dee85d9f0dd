"""The Authenticator of `Accounts`: its tokens, in the Authorization header."""

from collections.abc import Hashable

from chatcore.accounts import Accounts
from chatcore.errors import InvalidToken
from chatcore.ports import RequestHead, Session

MAX_TOKEN = 4096


class BearerTokens:
    """An Authenticator by the tokens of `Accounts.log_in`, as bearer tokens (RFC 6750).

    A token over 4,096 characters is refused unread.
    """

    ambient = False

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def credential(self, request: RequestHead) -> str | None:
        token = request.bearer_token()
        if token is not None and len(token) > MAX_TOKEN:
            raise InvalidToken
        return token

    async def session(self, credential: Hashable) -> Session:
        return await self._accounts.authenticate(str(credential))
