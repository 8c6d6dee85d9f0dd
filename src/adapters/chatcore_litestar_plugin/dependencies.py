"""Dependencies for the handlers of the host."""

from litestar.di import Provide
from litestar.exceptions import NotAuthorizedException, ServiceUnavailableException
from litestar.types import Scope

from chatcore import InvalidToken, Messenger, RequestHead, Unavailable, User
from chatcore_litestar.context import Context
from chatcore_litestar_plugin.config import ChatConfig


def providers(config: ChatConfig, context: Context) -> dict[str, Provide]:
    """Make the providers of the Messenger and of the user that sends a request.

    Functions, not methods: Litestar deep-copies what it registers.
    """

    async def messenger() -> Messenger:
        return context.messenger

    async def user(scope: Scope) -> User:
        """Raises a 401 or a 503 of Litestar, which the host's exception handlers answer."""
        try:
            sessions = context.sessions
            credential = sessions.authenticator.credential(RequestHead(scope, context.address_of))
            if credential is None:
                raise InvalidToken
            return (await sessions.find(credential)).session.user
        except InvalidToken as error:
            raise NotAuthorizedException from error
        except Unavailable as error:
            raise ServiceUnavailableException(
                headers={"retry-after": str(error.retry_after)}
            ) from error

    return {
        config.messenger_dependency_key: Provide(messenger),
        config.user_dependency_key: Provide(user),
    }
