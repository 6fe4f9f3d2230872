"""Authentication of a DiGA: its client certificate and its client_id belong to one active DiGA-VZ entry (RFC 8705
section 2, method tls_client_auth; HDDT security-and-privacy.md).

The exact certificate is compared, not its subject: anybody can get a certificate with the same name (TLS-005, TLS-012).
"""

from __future__ import annotations

from collections.abc import Mapping

from ddr.http.asgi import Scope, header_values
from ddr.http.caller import presented
from ddr.http.core import Core
from ddr.oauth.errors import invalid_client, invalid_request, temporarily_unavailable
from ddr.oauth.parameters import required
from ddr.scopes.diga import Diga

OTHER_WAYS = {"client_secret", "client_assertion", "client_assertion_type"}  # RFC 6749 section 2.3.1, RFC 7521


def authenticate(core: Core, scope: Scope, parameters: Mapping[str, str]) -> Diga:
    """The DiGA that sends this request.

    Raises OAuthError: 400 without client_id or with a second way to authenticate, 401 invalid_client, 503 while the
    DiGA-VZ data is too old.
    """
    _in_no_other_way(scope, parameters)
    client_id = required(parameters, "client_id")
    if core.registry.stale(core.clock()):
        raise temporarily_unavailable()
    diga = presented(core, scope)
    if diga is None or diga.client_id != client_id or not diga.active:
        raise invalid_client()
    return diga


def _in_no_other_way(scope: Scope, parameters: Mapping[str, str]) -> None:
    """A client must not authenticate in two ways at once (RFC 6749 sections 2.3 and 5.2). A bearer token is not one."""
    schemes = {value.partition(" ")[0].lower() for value in header_values(scope, "authorization")}
    if schemes - {"bearer"} or OTHER_WAYS & parameters.keys():
        raise invalid_request(
            "Authenticate by the client certificate only, without Authorization header, secret or assertion"
        )
