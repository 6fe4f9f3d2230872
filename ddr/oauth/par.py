"""POST /oauth/par: a DiGA pushes its authorization request (RFC 9126; HDDT authorization-server-par-endpoint.md)."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from ddr.oauth import pkce
from ddr.oauth.endpoint import Call
from ddr.oauth.errors import NO_STORE, OAuthError, excessive_scope, invalid_request, malformed_scope, too_many_requests
from ddr.oauth.parameters import required
from ddr.scopes.parse import ScopeError, Scopes, parse, scope_of
from ddr.store.authorization import par


async def push(call: Call) -> Response:
    """201 with request_uri and expires_in. The patient is not involved yet."""
    _no_request_object(call)
    _response_type_code(call)
    _registered_redirect_uri(call)
    required(call.parameters, "state")
    _pkce_s256(call)
    scopes = _permitted_scopes(call)
    await _room_for_one(call)
    lifetime = call.core.settings.par_seconds
    request = par.PushedRequest(
        request_uri=par.new_request_uri(),
        client_id=call.diga.client_id,
        redirect_uri=call.parameters["redirect_uri"],
        state=call.parameters["state"],
        scope=scopes.text,
        code_challenge=call.parameters["code_challenge"],
        expires_ms=call.arrived_ms + lifetime * 1000,
    )
    await par.push(call.core.pool, request)
    return JSONResponse({"request_uri": request.request_uri, "expires_in": lifetime}, 201, NO_STORE)


async def _room_for_one(call: Call) -> None:
    """The number of patients that a DiGA may have under way at once is limited."""
    now_ms, settings = call.core.clock(), call.core.settings
    count, first_ms = await par.open_requests(call.core.pool, call.diga.client_id, now_ms)
    if count >= settings.par_max_open:
        raise too_many_requests(-(-(first_ms - now_ms) // 1000), settings.par_max_open)


def _no_request_object(call: Call) -> None:
    """JWT-secured requests are not supported (AS-012), and a request_uri must not be pushed (RFC 9126 section 2.1)."""
    if "request" in call.parameters:
        raise OAuthError("request_not_supported", "The request parameter is not supported")
    if "request_uri" in call.parameters:
        raise invalid_request("The request_uri parameter must not be pushed")


def _response_type_code(call: Call) -> None:
    if required(call.parameters, "response_type") != "code":
        raise OAuthError("unsupported_response_type", "Only response_type code is supported")
    if call.parameters.get("response_mode", "query") != "query":
        raise invalid_request("Only response_mode query is supported")


def _registered_redirect_uri(call: Call) -> None:
    if required(call.parameters, "redirect_uri") != call.diga.redirect_uri:
        raise invalid_request("The redirect_uri is not the one registered for the client")


def _pkce_s256(call: Call) -> None:
    challenge = required(call.parameters, "code_challenge")
    if required(call.parameters, "code_challenge_method") != pkce.METHOD:
        raise invalid_request("Only code_challenge_method S256 is supported")
    if not pkce.well_formed(challenge):
        raise invalid_request("The code_challenge is not a base64url-encoded SHA-256 hash")


def _permitted_scopes(call: Call) -> Scopes:
    """Scopes must be known here, permitted to the DiGA, and include a kind of data: the others alone lead nowhere."""
    try:
        scopes = parse(required(call.parameters, "scope"))
    except ScopeError as error:
        raise malformed_scope(str(error)) from None
    if not scopes.valuesets:
        raise malformed_scope("it names no kind of data")
    for url in scopes.valuesets:
        if url not in call.diga.valuesets:
            raise excessive_scope(f"{scope_of(url)} is not listed for the client in the DiGA directory")
        if call.core.catalog.by_valueset(url) is None:
            raise malformed_scope(f"{scope_of(url)} is not served here")
    return scopes
