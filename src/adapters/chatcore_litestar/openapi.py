"""What the OpenAPI document says of handlers that read and write bytes themselves."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema


class Error(msgspec.Struct):
    error: str


def bodies(body: type[msgspec.Struct]) -> type[Operation]:
    """An operation that takes this JSON body; its fields are all texts."""
    schema = Schema(
        type=OpenAPIType.OBJECT,
        properties={name: Schema(type=OpenAPIType.STRING) for name in body.__struct_fields__},
        required=list(body.__struct_fields__),
    )

    @dataclass
    class WithBody(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(
                required=True, content={"application/json": OpenAPIMediaType(schema=schema)}
            )

    return WithBody


def returns(result: Any, success: int, *errors: int) -> dict[int, ResponseSpec]:
    """`result` on success, `{"error": …}` otherwise."""
    types = {success: result} | dict.fromkeys((*errors, 413, 503), Error)
    return {
        status: ResponseSpec(type_, generate_examples=False, description=HTTPStatus(status).phrase)
        for status, type_ in types.items()
    }
