"""GET /.well-known/oauth-authorization-server (RFC 8414; HDDT authorization-server-metadata-endpoint.md)."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ddr.http.core import Core

PATH = "/.well-known/oauth-authorization-server"
# HDDT's own address of the document has a second slash: {Base URL OAuth-API}//.well-known/… (security-and-privacy.md;
# RS-049).
PATHS = (PATH, f"/{PATH}")
CACHE_SECONDS = 60  # changes appear without undue delay (AS-007)


def metadata(core: Core) -> dict[str, Any]:
    """The document. Backend endpoints are on the mTLS listener, the others on the public one."""
    public, backend = core.settings.public_base_url, core.settings.diga_base_url
    return {
        "issuer": public,
        "authorization_endpoint": f"{public}/oauth/authorize",
        "pushed_authorization_request_endpoint": f"{backend}/oauth/par",
        "token_endpoint": f"{backend}/oauth/token",
        "revocation_endpoint": f"{backend}/oauth/revoke",
        "jwks_uri": f"{public}/oauth/jwks",
        "service_documentation": f"{public}/docs/client-registration",
        # The resource server (RFC 9728), and its CapabilityStatement for clients that the handshake below fhir_base
        # rejects.
        "protected_resources": [core.settings.fhir_base],
        "fhir_metadata_endpoint": capability_url(core),
        "scopes_supported": list(core.catalog.scopes()),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["tls_client_auth"],
        "revocation_endpoint_auth_methods_supported": ["tls_client_auth"],
        "require_pushed_authorization_requests": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "tls_client_certificate_bound_access_tokens": False,
        "authorization_response_iss_parameter_supported": True,
    }


def capability_url(core: Core) -> str:
    """Where everybody, even without a client certificate, finds the CapabilityStatement (RS-004)."""
    return f"{core.settings.public_base_url}/fhir/metadata"


async def endpoint(request: Request) -> Response:
    """200 with the document; needs neither certificate nor token."""
    core: Core = request.app.state.core
    headers = {
        "Cache-Control": f"public, max-age={CACHE_SECONDS}",
        "Link": f'<{capability_url(core)}>; rel="service-desc"; type="application/fhir+json"',  # RFC 8631
    }
    return JSONResponse(metadata(core), headers=headers)
