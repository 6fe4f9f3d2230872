"""The frame of the backend endpoints: form in, DiGA authenticated, JSON out, every refusal recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from ddr.http.caller import presented
from ddr.http.core import Core
from ddr.http.exchange import named_pairing
from ddr.oauth.client import authenticate
from ddr.oauth.errors import OAuthError, error_response
from ddr.oauth.parameters import form
from ddr.scopes.diga import Diga
from ddr.store.audit.trail import Event, record
from ddr.store.authorization.tokens import patient_of
from ddr.tls.peer import client_certificate


@dataclass(frozen=True)
class Call:
    """One authenticated request to a backend endpoint."""

    core: Core
    diga: Diga
    parameters: Mapping[str, str]
    arrived_ms: int
    certificate_sha256: bytes


Handler = Callable[[Call], Awaitable[Response]]


def backend_endpoint(core: Core, handle: Handler, refused: Event) -> Callable[[Request], Awaitable[Response]]:
    """A Starlette endpoint that calls `handle`; each OAuthError is answered as JSON and recorded as `refused`.

    Refusals that cannot be attributed to a listed DiGA, and those of too many requests, are counted but not recorded.
    """

    async def endpoint(request: Request) -> Response:
        arrived_ms = core.clock()
        try:
            parameters = await form(request.scope, request.receive, core.settings.fhir_max_body_bytes)
            diga = authenticate(core, request.scope, parameters)
            certificate_sha256 = hashlib.sha256(client_certificate(request.scope) or b"").digest()
            return await handle(Call(core, diga, parameters, arrived_ms, certificate_sha256))
        except OAuthError as error:
            await _record(core, request, refused, error)
            return error_response(error)

    return endpoint


async def _record(core: Core, request: Request, refused: Event, error: OAuthError) -> None:
    """Record a refusal. The DiGA is identified by its certificate: the client_id of a refused request is only a claim.

    The patient whose token it was sees it, even when another DiGA presented it (AUD-005).
    """
    diga = presented(core, request.scope)
    if diga is None or error.status == HTTPStatus.TOO_MANY_REQUESTS:
        core.strangers.count(f"{refused}", diga.client_id if diga else None, core.clock())
        return
    await record(
        core.pool,
        refused,
        core.clock(),
        patient_id=await patient_of(core.pool, named_pairing()),
        client_id=diga.client_id,
        pairing_id=named_pairing(),
        detail={"endpoint": request.url.path, "error": error.error, "description": error.description},
    )
