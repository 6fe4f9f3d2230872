"""GET /oauth/jwks: the public keys of access tokens (RFC 7517, jwks_uri of RFC 8414)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ddr.http.core import Core

CACHE_SECONDS = 60  # shorter than the time for which a new key is published before it signs


async def endpoint(request: Request) -> Response:
    """200 with the JWK Set."""
    core: Core = request.app.state.core
    return JSONResponse(core.signer.jwks(), headers={"Cache-Control": f"public, max-age={CACHE_SECONDS}"})
