"""Joins the routes to the host's OpenAPI document."""

from collections.abc import Sequence
from copy import copy

from litestar.config.app import AppConfig
from litestar.exceptions import ImproperlyConfiguredException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityRequirement, SecurityScheme, Tag

from chatcore_litestar_plugin.config import ChatConfig

BEARER = SecurityScheme(
    type="http",
    scheme="bearer",
    bearer_format="JWT",
    description="The token that the login of the chat gives.",
)


def scheme_of(config: ChatConfig) -> SecurityScheme | None:
    """The scheme to add to the host's document, if any."""
    if isinstance(config.security_scheme, str):
        return None
    return config.security_scheme or (BEARER if config.accounts is not None else None)


def security_of(config: ChatConfig) -> Sequence[SecurityRequirement]:
    """What the operations require."""
    if isinstance(config.security_scheme, str):
        return [{config.security_scheme: []}]
    return [{config.security_scheme_name: []}] if scheme_of(config) is not None else []


def join(app_config: AppConfig, config: ChatConfig) -> None:
    """Add the tag and the scheme to the host's document, if the host has one.

    Raises ImproperlyConfiguredException if the host has another scheme of that name.
    """
    if app_config.openapi_config is None:
        return
    # A copy, since the default is one object of all applications.
    document = app_config.openapi_config = copy(app_config.openapi_config)
    tags = document.tags or []
    if config.tag not in {tag.name for tag in tags}:
        document.tags = [*tags, Tag(name=config.tag, description="One-to-one chat.")]
    if (scheme := scheme_of(config)) is not None:
        _add_scheme(document, config.security_scheme_name, scheme)


def _add_scheme(document: OpenAPIConfig, name: str, scheme: SecurityScheme) -> None:
    present = document.components
    components = present if isinstance(present, list) else [present]
    for each in components:
        if (each.security_schemes or {}).get(name, scheme) != scheme:
            raise ImproperlyConfiguredException(
                f"the OpenAPI document has another security scheme {name!r}; give ChatConfig a "
                "security_scheme_name"
            )
    document.components = [*components, Components(security_schemes={name: scheme})]
