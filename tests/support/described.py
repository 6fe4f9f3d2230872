"""Compares responses to DiGA with the OpenAPI description that the recorder serves."""

from __future__ import annotations

import re
from typing import Any

import httpx
import orjson
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from ddr.fhir.search.grammar import OTHER_NAMES

Json = dict[str, Any]
GENERAL = {401, 404, 405, 406, 415}  # of missing paths and methods
FORM = "application/x-www-form-urlencoded"


class Described:
    """The description, and which of its responses were seen."""

    def __init__(self, document: Json) -> None:
        self.document = document
        self.seen: set[tuple[str, str]] = set()  # operationId, status
        self._validators: dict[tuple[str, str], Any] = {}  # created once: each resolves its references anew
        self._paths = [
            (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))), item)
            for path, item in sorted(document["paths"].items(), key=lambda one: one[0].count("{"))
        ]

    def operation(self, request: httpx.Request) -> Json | None:
        """The description of a request; None when there is none."""
        address = f"{request.url.scheme}://{request.url.netloc.decode()}"
        for pattern, item in self._paths:
            if pattern.fullmatch(request.url.path) and address in {one["url"] for one in item["servers"]}:
                found = item.get("get" if request.method == "HEAD" else request.method.lower())
                return None if found is None else {**found, "parameters": self._parameters(item, found)}
        return None

    async def check(self, response: httpx.Response) -> None:
        """Raises AssertionError unless a response is described: its status, media type, content, headers, and the
        request's parameters."""
        await response.aread()
        request = response.request
        operation = self.operation(request)
        if operation is None:
            assert response.status_code in GENERAL, (request.method, request.url.path, response.status_code)
            return
        told = f"{operation['operationId']} {response.status_code}"
        if response.status_code == httpx.codes.INTERNAL_SERVER_ERROR:
            return  # our own fault is not part of the interface
        assert str(response.status_code) in operation["responses"], told
        self.seen.add((operation["operationId"], str(response.status_code)))
        described = self.resolved(operation["responses"][str(response.status_code)])
        for name, one in described.get("headers", {}).items():
            assert name in response.headers or not self.resolved(one).get("required"), (told, name)
        if response.is_success:
            self._takes(request, operation)
        if "content" not in described or request.method == "HEAD":
            assert response.content == b"", told
            return
        media_type = response.headers["content-type"].partition(";")[0]
        assert media_type in described["content"], (told, media_type)
        if media_type.endswith("json"):
            if (told, media_type) not in self._validators:
                schema = {**described["content"][media_type]["schema"], "components": self.document["components"]}
                self._validators[told, media_type] = Draft202012Validator(schema)
            self._validators[told, media_type].validate(orjson.loads(response.content))

    def resolved(self, node: Json) -> Json:
        """The target of a `$ref`."""
        if "$ref" not in node:
            return node
        found: Any = self.document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return self.resolved(found)

    def _takes(self, request: httpx.Request, operation: Json) -> None:
        """Every parameter of a successful request is described, except those that are announced nowhere; chains (_has)
        are described in words."""
        known = {one["name"] for one in operation["parameters"] if one["in"] == "query"}
        body = self.resolved(operation.get("requestBody", {})).get("content", {})
        schema = body.get(FORM, {}).get("schema", {})
        known |= {name for one in (schema, *schema.get("oneOf", ())) for name in one.get("properties", ())}
        given = {name for name in request.url.params if not name.startswith("_has:")} - OTHER_NAMES.keys()
        assert given <= known, (operation["operationId"], given - known)

    def _parameters(self, item: Json, operation: Json) -> list[Json]:
        return [self.resolved(one) for one in (*item.get("parameters", ()), *operation.get("parameters", ()))]
