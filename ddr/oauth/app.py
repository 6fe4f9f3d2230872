"""The two applications of the authorization server: backend (mTLS) and public."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ddr.http.core import Core
from ddr.http.guard import left_to_guard
from ddr.oauth import authorize, client_registration, jwks, metadata
from ddr.oauth.endpoint import backend_endpoint
from ddr.oauth.errors import OAuthError, error_response
from ddr.oauth.par import push
from ddr.oauth.revoke import revocation
from ddr.oauth.token import token
from ddr.store.audit.trail import Event


def create_oauth_backend(core: Core) -> Starlette:
    """Endpoints for DiGA backends."""
    endpoints = {
        "/oauth/par": backend_endpoint(core, push, Event.PAIRING_REFUSED),
        "/oauth/token": backend_endpoint(core, token, Event.TOKEN_REFUSED),
        "/oauth/revoke": backend_endpoint(core, revocation(core.token_verifier()), Event.UNPAIRING_REFUSED),
    }
    return _app(core, [Route(path, handle, methods=["POST"]) for path, handle in endpoints.items()])


def create_oauth_public(core: Core) -> Starlette:
    """Endpoints that browsers and anyone may call without a certificate."""
    endpoints = {
        "/oauth/authorize": authorize.endpoint,
        "/oauth/jwks": jwks.endpoint,
        **dict.fromkeys(metadata.PATHS, metadata.endpoint),
        "/docs/client-registration": client_registration.endpoint,
    }
    return _app(core, [Route(path, handle) for path, handle in endpoints.items()])


def _app(core: Core, routes: list[Route]) -> Starlette:
    app = Starlette(routes=routes, exception_handlers={HTTPException: _wrong_route, Exception: left_to_guard})
    app.router.redirect_slashes = False  # its redirects would repeat the Host header
    app.state.core = core
    return app


async def _wrong_route(request: Request, error: Exception) -> Response:
    """404 and 405 in the form of all other errors (AS-032)."""
    assert isinstance(error, HTTPException)  # which is what this handler is registered for
    return error_response(OAuthError("invalid_request", error.detail, error.status_code, error.headers))
