"""The gateway API for a room of the same process: the same routes and rules, without a token and without HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ddr.gateway.app import BASE, find_route
from ddr.gateway.problem import Problem
from ddr.gateway.request import parsed
from ddr.http.core import Core


async def call(core: Core, patient_id: UUID, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    """Status and content of the answer to a request below /gateway/v1 for this patient; `body` is JSON."""
    try:
        route, parameters = find_route(method, f"{BASE}/{path}")
        given = [parsed(body or b"null", route.exact)] if route.has_body else []
        status, content = await route.handler(core, *route.arguments(patient_id, parameters), *given)
    except Problem as problem:
        return problem.status, {"code": problem.code, "detail": problem.detail}
    return status, content
