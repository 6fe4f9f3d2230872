"""The whole description, with the addresses, scopes and operations of this recorder; served to everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from ddr import __version__
from ddr.diga_api.description import fhir
from ddr.fhir.cgm_summary import OPERATION
from ddr.http.asgi import ANY_SITE, JSON, ASGIApp, Receive, Reply, Scope, Send, problem, send_reply
from ddr.http.core import Core

PATH = "/docs/openapi.json"
FRAME = Path(__file__).with_name("frame.json")
CONTENT = {
    "outcome": {
        fhir.FHIR_JSON: {"schema": {"$ref": "#/components/schemas/OperationOutcome"}},
        fhir.FHIR_XML: {"schema": {"type": "string"}},
    },
    "oauth": {JSON: {"schema": {"$ref": "#/components/schemas/OAuthError"}}},
}


def description(core: Core) -> dict[str, Any]:
    """The document (OpenAPI 3.1)."""
    settings = core.settings
    backend, public = {"url": settings.diga_base_url}, {"url": settings.public_base_url}
    servers = {"backend": [backend], "public": [public], "both": [public, backend]}
    found: dict[str, Any] = orjson.loads(FRAME.read_bytes())
    found["info"]["version"] = __version__
    found["servers"] = servers["both"]
    found["paths"] |= fhir.paths(core.catalog.with_operation(OPERATION) is not None)
    for item in found["paths"].values():
        item["servers"] = servers[item["servers"]]
    parts = found["components"]
    parts["schemas"] |= fhir.resource_schemas()
    for answer in parts["responses"].values():
        if isinstance(answer["content"], str):
            answer["content"] = CONTENT[answer["content"]]
    parts["securitySchemes"]["tokens"] = {
        "type": "oauth2",
        "description": "Pushed authorization requests with PKCE. Metadata: "
        f"{public['url']}/.well-known/oauth-authorization-server",
        "flows": {
            "authorizationCode": {
                "authorizationUrl": f"{public['url']}/oauth/authorize",
                "tokenUrl": f"{backend['url']}/oauth/token",
                "refreshUrl": f"{backend['url']}/oauth/token",
                "scopes": {scope: _meaning(core, scope) for scope in core.catalog.scopes()},
            }
        },
    }
    return found


def _meaning(core: Core, scope: str) -> str:
    return next((miv.title for miv in core.catalog.mivs if miv.scope == scope), "Devices that measured the values")


def create_description(core: Core) -> ASGIApp:
    """GET /docs/openapi.json; made once, because it does not change while a worker runs."""
    body = orjson.dumps(description(core))

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].rstrip("/") != PATH:
            reply = problem(404, "Not found")
        elif scope["method"] not in ("GET", "HEAD"):
            reply = problem(405, "Method not allowed", headers=(("allow", "GET, HEAD"),))
        else:
            reply = Reply(200, body, JSON, ANY_SITE)  # viewers on other sites may display it
        await send_reply(scope, send, reply)

    return answer
