"""Requests generated from the OpenAPI document, valid and invalid, are answered as it says."""

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import (
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.support.api import PASSWORD, SOAK, fresh, some_address
from tests.support.clients import client_at

ROUTES = [
    "POST /register",
    "POST /login",
    "GET /chats",
    "POST /chat/{user_name}",
    "POST /chats/{user_name}/messages",
    "GET /chats/messages/{user_name}",
    "GET /healthz",
    "GET /v1/sync",
    "GET /v1/chats",
    "GET /v1/chats/{chat_id}",
    "PUT /v1/users/{user_name}/chat",
    "PUT /v1/chats/{chat_id}/read",
    "GET /v1/chats/{chat_id}/messages",
    "GET /v1/chats/{chat_id}/messages/{seq}",
    "POST /v1/chats/{chat_id}/messages",
    "GET /v1/me",
    "DELETE /v1/me",
    "PUT /v1/me/password",
    "GET /v1/me/export",
    "GET /v1/blocks",
    "PUT /v1/blocks/{user_name}",
    "DELETE /v1/blocks/{user_name}",
]
# POST /v1/logout-everywhere is left out: the token of the first request is void for the second. So
# are checks that expect the schema to express every condition: it cannot say which users exist.
CHECKS = [
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]
EXAMPLES = 500 if SOAK else 5
FEWER_EXAMPLES = {"PUT /v1/chats/{chat_id}/read": 100}
"""Fewer for a route whose answer may take a second."""


@pytest.fixture(scope="session")
def document(url: str) -> schemathesis.BaseSchema:
    schema = schemathesis.openapi.from_url(f"{url}/schema/openapi.json")
    schema.validate()
    return schema


@pytest.fixture(scope="session")
def ann_and_peer(url: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The headers of a user, and the path parameters, by name, that lead to their chat with a
    peer."""
    names = fresh("ann"), fresh("peer")
    with client_at(url) as client:
        for name in names:
            account = {"username": name, "password": PASSWORD}
            assert client.post("/register", json=account).is_success
        token = client.post("/login", json=account | {"username": names[0]}).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        chat = client.put(f"/v1/users/{names[1]}/chat", headers=headers).json()
        sent = client.post(
            f"/v1/chats/{chat['chat_id']}/messages", headers=headers, json={"text": "hello"}
        ).json()
    return headers, {"user_name": names[1], "chat_id": chat["chat_id"], "seq": sent["seq"]}


@pytest.mark.parametrize("route", ROUTES)
def test_answers_conform_to_the_openapi_document(
    document: schemathesis.BaseSchema,
    ann_and_peer: tuple[dict[str, str], dict[str, Any]],
    route: str,
) -> None:
    headers, values = ann_and_peer
    method, path = route.split(" ")
    operation = document[path][method]
    anyone = [operation.as_strategy(mode) for mode in GenerationMode]
    someone = [
        operation.as_strategy(mode, path_parameters=known)
        for mode in GenerationMode
        if (known := {name: value for name, value in values.items() if f"{{{name}}}" in path})
    ]
    with requests.Session() as session:

        @settings(
            max_examples=min(EXAMPLES, FEWER_EXAMPLES.get(route, EXAMPLES)),
            suppress_health_check=list(HealthCheck),
        )
        @given(st.one_of(*anyone, *someone))
        def check(case: Case[Any]) -> None:
            answer = case.call(session=session, headers=headers | some_address())
            if answer.status_code == 414:
                # The limit of the server, which routes do not know.
                assert len(case.as_curl_command()) > 4096
                return
            if answer.status_code == 503:
                assert "retry-after" in answer.headers
            else:
                assert answer.status_code < 500
            case.validate_response(answer, checks=CHECKS, headers=headers)

        check()
