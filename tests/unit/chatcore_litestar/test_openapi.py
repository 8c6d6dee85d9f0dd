"""The OpenAPI document: complete, and nothing but JSON."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chatcore_memory import MemoryStore
from tests.support.api import Api, api_of
from tests.support.apps import app_on

ROUTES = {
    ("post", "/register"): {"201", "400", "408", "413", "429", "503"},
    ("post", "/login"): {"200", "401", "408", "413", "429", "503"},
    ("get", "/chats"): {"200", "401", "503"},
    ("post", "/chat/{user_name}"): {"201", "400", "401", "503"},
    ("post", "/chats/{user_name}/messages"): {"201", "400", "401", "408", "413", "503"},
    ("get", "/chats/messages/{user_name}"): {"200", "400", "401", "404", "503"},
    ("get", "/healthz"): {"200", "503"},
    ("get", "/readyz"): {"200", "503"},
    ("get", "/v1/sync"): {"200", "400", "401", "503"},
    ("get", "/v1/chats"): {"200", "400", "401", "503"},
    ("get", "/v1/chats/{chat_id}"): {"200", "400", "401", "404", "503"},
    ("put", "/v1/users/{user_name}/chat"): {
        *("200", "201", "400", "401", "403", "404", "422", "503"),
    },
    ("put", "/v1/chats/{chat_id}/read"): {
        *("200", "400", "401", "404", "408", "413", "422", "503"),
    },
    ("get", "/v1/chats/{chat_id}/messages"): {"200", "400", "401", "404", "503"},
    ("get", "/v1/chats/{chat_id}/messages/{seq}"): {"200", "400", "401", "404", "503"},
    ("post", "/v1/chats/{chat_id}/messages"): {
        *("201", "400", "401", "403", "404", "408", "413", "422", "503"),
    },
    ("get", "/v1/me"): {"200", "400", "401", "503"},
    ("delete", "/v1/me"): {
        *("204", "400", "401", "403", "408", "413", "415", "429", "503"),
    },
    ("put", "/v1/me/password"): {
        *("200", "400", "401", "403", "408", "413", "415", "422", "429", "503"),
    },
    ("post", "/v1/sessions"): {
        *("201", "400", "401", "403", "408", "413", "415", "422", "429", "503"),
    },
    ("post", "/v1/sessions/renew"): {"200", "400", "401", "408", "413", "415", "503"},
    ("get", "/v1/me/sessions"): {"200", "400", "401", "503"},
    ("delete", "/v1/me/sessions/{session_id}"): {"204", "400", "401", "404", "503"},
    ("get", "/v1/me/export"): {"200", "400", "401", "503"},
    ("post", "/v1/logout-everywhere"): {"204", "400", "401", "503"},
    ("get", "/v1/blocks"): {"200", "400", "401", "503"},
    ("put", "/v1/blocks/{user_name}"): {"204", "400", "401", "404", "422", "503"},
    ("delete", "/v1/blocks/{user_name}"): {"204", "400", "401", "404", "503"},
}
EVENTS = ("get", "/v1/events")
NEED_NO_TOKEN = {
    *("/register", "/login", "/v1/sessions", "/v1/sessions/renew", "/healthz", "/readyz"),
}


@pytest.fixture(scope="module")
async def api() -> AsyncIterator[Api]:
    async with app_on(MemoryStore()) as app, api_of(app) as api:
        yield api


@pytest.fixture(scope="module")
async def document(api: Api) -> Any:
    return (await api.call("GET", "/schema/openapi.json")).json()


def operations(document: Any) -> dict[tuple[str, str], Any]:
    return {
        (method, path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


async def test_document_describes_every_route(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    found = operations(document)
    responses = {route: operation["responses"].keys() for route, operation in found.items()}
    assert responses.pop(EVENTS) >= {"200", "400", "401", "503"}
    assert responses == ROUTES
    for (_, path), operation in found.items():
        assert operation["summary"]
        assert ("security" in operation) == (path not in NEED_NO_TOKEN)
    scheme = document["components"]["securitySchemes"]["bearer"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


async def test_document_describes_what_handler_signatures_do_not_show(document: Any) -> None:
    found = operations(document)

    def parameters(route: tuple[str, str]) -> dict[str, str]:
        return {item["name"]: item["in"] for item in found[route]["parameters"]}

    def fields(route: tuple[str, str]) -> set[str]:
        schema = found[route]["requestBody"]["content"]["application/json"]["schema"]
        assert set(schema["required"]) == set(schema["properties"])
        return set(schema["required"])

    assert parameters(("post", "/chats/{user_name}/messages")) == {
        "user_name": "path",
        "Idempotency-Key": "header",
    }
    assert parameters(("get", "/chats/messages/{user_name}")) == {
        "user_name": "path",
        "limit": "query",
        "before": "query",
        "after": "query",
    }
    assert fields(("post", "/register")) == fields(("post", "/login")) == {"username", "password"}
    assert fields(("post", "/chats/{user_name}/messages")) == {"message"}


async def test_document_matches_v1(document: Any) -> None:
    found = operations(document)
    page = found["get", "/v1/chats/{chat_id}/messages"]
    assert {item["name"]: item["in"] for item in page["parameters"]} == {
        "chat_id": "path",
        **dict.fromkeys(("limit", "before", "after", "around"), "query"),
    }
    [chat_id, *_] = page["parameters"]
    assert (chat_id["required"], chat_id["schema"]["type"]) == (True, "integer")
    send = found["post", "/v1/chats/{chat_id}/messages"]
    schema = send["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"].keys() == {"text", "idempotency_key"}
    assert schema["required"] == ["text"]
    assert send["responses"]["201"]["headers"].keys() == {"Idempotency-Replayed"}
    opening = found["put", "/v1/users/{user_name}/chat"]["responses"]
    assert opening["201"]["headers"].keys() == {"Location"}
    assert "headers" not in opening["200"]
    for (_, path), operation in found.items():
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                kind = "application/problem+json" if path.startswith("/v1/") else "application/json"
                assert response["content"].keys() == {kind}
    problem = document["components"]["schemas"]["Problem"]
    assert set(problem["required"]) == {"type", "title", "status", "code"}


async def test_document_has_no_dangling_references(document: Any) -> None:
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    for piece in text.split('"$ref": "')[1:]:
        reference = piece.partition('"')[0]
        assert reference.removeprefix("#/components/schemas/") in schemas
    assert "securitySchemes" in document["components"]


@pytest.mark.parametrize(
    "path",
    ["/schema", "/schema/"]
    + [
        f"/schema/{page}"
        for page in (
            "swagger",
            "redoc",
            "elements",
            "rapidoc",
            "scalar",
            "oauth2-redirect.html",
            "openapi.yaml",
            "x",
        )
    ],
)
async def test_no_page_loads_scripts(api: Api, path: str) -> None:
    answer = await api.call("GET", path)
    assert answer.headers["content-type"].partition(";")[0].endswith("json")
    assert "<" not in answer.text
    if path.rstrip("/") != "/schema":
        assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})
