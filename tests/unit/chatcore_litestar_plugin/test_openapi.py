"""The routes in the host's OpenAPI document."""

from typing import Any

import pytest
from litestar import get
from litestar.app import DEFAULT_OPENAPI_CONFIG
from litestar.exceptions import ImproperlyConfiguredException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme, Tag

from tests.support.litestar_host import chat, host

COOKIE = SecurityScheme(type="apiKey", name="session", security_scheme_in="cookie")


@get("/orders", security=[{"session": []}], tags=["shop"])
async def orders() -> list[int]:
    return []


def document(openapi: OpenAPIConfig, **options: Any) -> Any:
    app = host(orders, plugins=[chat(**options)], openapi_config=openapi)
    return app.openapi_schema.to_schema()


def shop(components: Components | list[Components] | None = None) -> OpenAPIConfig:
    return OpenAPIConfig(
        "Shop",
        "7",
        components=components or Components(security_schemes={"session": COOKIE}),
        tags=[Tag(name="shop")],
    )


@pytest.mark.parametrize("as_list", [False, True])
async def test_the_host_keeps_its_own_schemes_and_tags(as_list: bool) -> None:
    components = Components(security_schemes={"session": COOKIE})
    found = document(shop([components] if as_list else components))
    schemes = found["components"]["securitySchemes"]
    assert schemes["session"] == {"type": "apiKey", "name": "session", "in": "cookie"}
    assert (schemes["chat"]["type"], schemes["chat"]["scheme"]) == ("http", "bearer")
    assert [tag["name"] for tag in found["tags"]] == ["shop", "chat"]
    order = found["paths"]["/orders"]["get"]
    assert (order["security"], order["tags"]) == ([{"session": []}], ["shop"])


OPEN = {
    "/support/register",
    "/support/login",
    "/support/v1/sessions",
    "/support/v1/sessions/renew",
}
"""The routes by which a token is got."""


async def test_every_operation_has_the_tag_and_the_scheme() -> None:
    paths = document(shop(), tag="support", security_scheme_name="token")["paths"]
    found = [
        (path, operation)
        for path, methods in paths.items()
        for operation in methods.values()
        if path.startswith("/support/")
    ]
    assert len(found) > 20
    for path, operation in found:
        assert operation["tags"] == ["support"]
        needs: list[Any] = [] if path in OPEN else [{"token": []}]
        assert operation.get("security", []) == needs


async def test_a_scheme_of_the_host_may_stand_for_ours() -> None:
    found = document(shop(), security_scheme="session")
    assert found["components"]["securitySchemes"].keys() == {"session"}
    assert found["paths"]["/support/chats"]["get"]["security"] == [{"session": []}]


async def test_another_scheme_of_our_name_is_not_replaced() -> None:
    taken = Components(security_schemes={"chat": COOKIE})
    with pytest.raises(ImproperlyConfiguredException, match="security_scheme_name"):
        document(shop(taken))
    found = document(shop(taken), security_scheme=COOKIE)
    assert found["components"]["securitySchemes"]["chat"]["in"] == "cookie"


async def test_the_configuration_of_the_host_is_not_changed() -> None:
    config = shop()
    document(config)
    document(DEFAULT_OPENAPI_CONFIG)
    assert config.components == Components(security_schemes={"session": COOKIE})
    assert config.tags == [Tag(name="shop")]
    assert DEFAULT_OPENAPI_CONFIG.components == Components()
    assert DEFAULT_OPENAPI_CONFIG.tags is None


async def test_a_host_without_a_document_has_none() -> None:
    app = host(orders, plugins=[chat()], openapi_config=None)
    async with app.lifespan():
        pass
    assert app.openapi_config is None
