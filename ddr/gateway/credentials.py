"""POST /token and POST /token/renew: how an app gets its first token, and the next one before it expires."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ddr.fhir.instants import date_time
from ddr.gateway.auth import Gatekeeper, bearer_token
from ddr.gateway.problem import Problem, conflict, invalid
from ddr.http.asgi import NO_STORE, Reply, Scope, json_reply
from ddr.http.core import Core
from ddr.store.database.digest import sha256
from ddr.store.database.rights import Moment
from ddr.store.gateways import apps
from ddr.store.gateways.tokens import MOST, TooManyTokens

LONGEST = 4096  # bytes of a request that anybody may send
LONGEST_NAME = 80


async def connect(core: Core, gatekeeper: Gatekeeper, scope: Scope, body: Any) -> Reply:
    """201 with the first token of an app, for the pairing code that the patient typed in. Needs no token.

    Raises Problem 403 for an invalid code, 429 for an address that tries too many.
    """
    code, name = _request(body)
    try:
        moment = Moment.at(core.clock(), core.settings)
        days = core.settings.gateway_token_days
        made = await apps.connect(core.pool, code, name, days, moment)
    except TooManyTokens:
        raise _too_many() from None
    if made is None:
        gatekeeper.failed(scope)
        raise Problem(
            403,
            "pairing-code",
            "This pairing code is unknown, already used or expired; the patient can create a new one",
        )
    token, expires_ms = made
    return json_reply({"token": token, "expires": date_time(expires_ms)}, 201, NO_STORE)


async def renew(core: Core, patient_id: UUID, scope: Scope) -> Reply:
    """201 with another token of the app that asks; the one that it used ends after the overlap.

    Raises Problem 409 when it authenticates with anything but a token of this recorder.
    """
    token, settings = bearer_token(scope), core.settings
    overlap_ms = settings.gateway_token_overlap_seconds * 1000
    try:
        renewed = token and await apps.renew(
            core.pool, sha256(token), settings.gateway_token_days, overlap_ms, core.clock()
        )
    except TooManyTokens:
        raise _too_many() from None
    if not renewed or renewed.patient_id != patient_id:
        raise conflict("Only tokens that this recorder issued can be renewed here", "not-renewable")
    content = {
        "token": renewed.token,
        "expires": date_time(renewed.expires_ms),
        "formerUntil": date_time(renewed.former_ms),
    }
    return json_reply(content, 201, NO_STORE)


def _request(body: Any) -> tuple[str, str]:
    """Code and name of the app. Raises Problem 422."""
    if not isinstance(body, dict):
        raise invalid("body", "must be an object")
    for member in body:
        if member not in ("code", "name"):
            raise invalid(member, "is not a known member of this request")
    code, name = body.get("code"), body.get("name", "")
    if not isinstance(code, str) or not 1 <= len(code) <= 64:
        raise invalid("code", "must be the pairing code that the page shows")
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
        raise invalid("name", f"must have at most {LONGEST_NAME} printable characters")
    return code, name.strip()


def _too_many() -> Problem:
    return conflict(
        f"The patient already has {MOST} tokens; disconnect an app that is no longer used", "too-many-tokens"
    )
