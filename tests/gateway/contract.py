"""Compares responses with the gateway's OpenAPI document."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import httpx
import orjson
from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]

from ddr.gateway.app import openapi_document

# Responses that no operation lists, because they belong to none.
GENERAL = {404, 405}


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    found: dict[str, Any] = orjson.loads(openapi_document())
    return found


@cache
def _patterns() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), item) for path, item in document()["paths"].items()]


def _operation(request: httpx.Request) -> dict[str, Any] | None:
    item = next((item for pattern, item in _patterns() if pattern.fullmatch(request.url.path)), {})
    return item.get(request.method.lower())


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    found: Any = document()
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return _resolved(found)


def validate(schema: dict[str, Any], content: Any) -> None:
    """Raises jsonschema.ValidationError when `content` does not fit a schema of the document."""
    Draft202012Validator({**schema, "components": document()["components"]}, format_checker=FormatChecker()).validate(
        content
    )


async def check_answer(response: httpx.Response) -> None:
    """Status, media type and content of `response` are described for its operation, and it is no error of ours."""
    await response.aread()
    assert response.status_code != 500
    check_described(response)


def check_described(response: httpx.Response) -> None:
    """The same for a response that was already read; it may also be an error of ours."""
    operation = _operation(response.request)
    if operation is None or (
        response.status_code in GENERAL and str(response.status_code) not in operation["responses"]
    ):
        assert response.status_code in GENERAL
        described = _resolved(document()["components"]["responses"]["NotFound"])
    else:
        described = _resolved(operation["responses"][str(response.status_code)])
    if "content" not in described:
        assert response.content == b""
        return
    media_type, _, parameters = response.headers["content-type"].partition(";")
    media = described["content"][media_type]
    assert parameters.strip() == ("fhirVersion=4.0; charset=utf-8" if "fhir" in media_type else "")
    validate(media["schema"], response.text if media_type.endswith("xml") else response.json())
    for name in described.get("headers", {}):
        assert name in response.headers
