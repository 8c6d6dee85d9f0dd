"""The issuer whose users chat, in place of accounts."""

from chatcore import AuthenticationUnavailable, Clock, Messenger
from chatcore_jwt import JwksKeys, JwtAuthenticator
from chatcore_server.settings import CannotStart, Settings


async def authenticator_of(
    settings: Settings, messenger: Messenger, clock: Clock
) -> JwtAuthenticator:
    """Return the authenticator that the settings describe. Raises CannotStart if the keys can never
    be read; an issuer that is down now may be up later."""
    url, issuer = settings.jwks_url, settings.jwt_issuer
    if url is None or issuer is None:
        raise CannotStart("CHATCORE_JWKS_URL and CHATCORE_JWT_ISSUER are missing")
    try:
        keys = JwksKeys(url)
    except (ValueError, ImportError) as error:
        raise CannotStart(f"CHATCORE_JWKS_URL cannot be used: {error}") from None
    if url.startswith("file:"):
        try:
            await keys.find(None, "")
        except AuthenticationUnavailable:
            raise CannotStart(f"CHATCORE_JWKS_URL: no keys can be read from {url}") from None
    return JwtAuthenticator(
        messenger.user,
        keys,
        issuer=issuer,
        audience=settings.jwt_audience,
        handle_claim=settings.jwt_handle_claim,
        name_claim=settings.jwt_name_claim,
        clock=clock,
    )
