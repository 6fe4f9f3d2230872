"""Carries out the patient's decision from the consent page, and turns it into the redirect to the DiGA.

The response goes to the redirect_uri of the pushed request with state and iss (RFC 6749 section 4.1.2, RFC 9207).
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from urllib.parse import urlencode
from uuid import UUID

import asyncpg

from ddr.durations import DAY_MS
from ddr.http.core import Core
from ddr.http.exchange import concerns
from ddr.miv.model import Miv
from ddr.reasons import kind_of
from ddr.scopes.diga import Diga
from ddr.scopes.parse import granted, parse, scope_of
from ddr.store.audit.trail import Event, record
from ddr.store.authorization import par
from ddr.store.authorization.consents import Shown
from ddr.store.authorization.pairings import Terms, code_of, decide, deny, issued, take_back
from ddr.store.authorization.par import PushedRequest
from ddr.store.database.faults import fault_of

log = logging.getLogger(__name__)


def requested_mivs(core: Core, request: PushedRequest, diga: Diga) -> tuple[Miv, ...]:
    """What the request asks for, as far as the DiGA-VZ still lists it for the DiGA and this recorder serves it."""
    wanted = granted(request.scope).within(diga.valuesets)
    return tuple(miv for url in wanted.valuesets if (miv := core.catalog.by_valueset(url)))


async def approve(
    core: Core,
    request_uri: str,
    patient_id: UUID,
    valuesets: Collection[str],
    until_ms: int | None = None,
    shown: Shown | None = None,
) -> str | None:
    """The Location after the patient agreed to the MIVs `valuesets`, until `until_ms` or for as long as possible.

    `shown` is the text that was agreed to, for the proof.

    None when the request is unknown, expired or already decided. Agreeing to nothing counts as a refusal, as does a
    DiGA that has lost its permission meanwhile.
    """
    now_ms = core.clock()
    request = await par.load(core.pool, request_uri, now_ms)
    if request is None:
        return None
    permitted = _permitted(core, request.client_id, valuesets)
    if not parse(request.scope).within(permitted).valuesets:
        return await refuse(core, request_uri, patient_id)
    secret = core.secrets["pairing-ids"]
    try:
        approval = await decide(
            core.pool, secret, request_uri, patient_id, permitted, _terms(core, now_ms, until_ms), now_ms, shown
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if fault_of(error) is not None:
            raise  # the patient is asked to try again; the same decision then gets the same response
        return await _failed(core, request, patient_id, error)
    if approval is not None:
        concerns(approval.pairing_id, approval.request.client_id)
    return None if approval is None else _location(core, request, code=approval.code)


async def refuse(core: Core, request_uri: str, patient_id: UUID) -> str | None:
    """The Location after the patient refused: error=access_denied (AS-040). None as for `approve`."""
    request = await deny(core.pool, request_uri, patient_id, core.clock())
    return None if request is None else _location(core, request, error="access_denied")


def out_of_scope(core: Core, request: PushedRequest) -> str:
    """The Location for a request of which the DiGA may read nothing any more (RFC 6749 section 4.1.2.1)."""
    return _location(core, request, error="invalid_scope")


async def turned_away(core: Core, request_uri: str, client_id: str, endpoint: str, error: str) -> bool:
    """Record that a browser was turned away with this request, once per request. False: it was recorded already, or
    nobody has pushed it."""
    now_ms, detail = core.clock(), {"endpoint": endpoint, "error": error}
    async with core.pool.acquire() as conn, conn.transaction():
        if not await par.refuse_once(conn, request_uri, now_ms):
            return False
        await record(conn, Event.PAIRING_REFUSED, now_ms, client_id=client_id, detail=detail)
        return True


async def answered(
    core: Core, request_uri: str, patient_id: UUID, scopes: Collection[str], refused: bool = False
) -> str | None:
    """The Location again, when this patient decided the request just now and a form was sent twice.

    "Just now" is the lifetime of a code: a patient who was told that the database is unavailable tries again later.
    None otherwise, and when the DiGA has already redeemed the code, since presenting it again would end the grant. A
    patient who agreed and then refuses (`refused`), in another tab or with the back button, has refused, unless the
    DiGA was faster. None, too, for a patient who now agrees to other `scopes`, so that the first consent is not used.
    """
    now_ms = core.clock()
    if refused and (request := await par.decided(core.pool, request_uri, patient_id, 0)):
        code = code_of(core.secrets["pairing-ids"], request_uri, patient_id)
        if await take_back(core.pool, code, patient_id, now_ms):
            return _location(core, request, error="access_denied")
    request = await par.decided(core.pool, request_uri, patient_id, now_ms - core.settings.code_seconds * 1000)
    if request is None:
        return None
    code = code_of(core.secrets["pairing-ids"], request_uri, patient_id)
    found = await issued(core.pool, code, patient_id, now_ms)
    if found is None:
        return _location(core, request, error="access_denied")
    if found.redeemable and set(map(scope_of, found.scopes.valuesets)) == set(scopes):
        return _location(core, request, code=code)
    return None


async def _failed(core: Core, request: PushedRequest, patient_id: UUID, error: Exception) -> str:
    """Nothing was issued; the DiGA is told so with the error of AS-036. The log names the kind of error only."""
    log.error("pairing.failed", extra={"error": kind_of(error)})
    await record(core.pool, Event.PAIRING_FAILED, core.clock(), patient_id=patient_id, client_id=request.client_id)
    return _location(core, request, error="server_error", error_description="Failed to generate pairing identifier")


def _permitted(core: Core, client_id: str, valuesets: Collection[str]) -> frozenset[str]:
    diga = core.registry.by_client_id(client_id)
    return diga.valuesets.intersection(valuesets) if diga is not None and diga.active else frozenset()


def _terms(core: Core, now_ms: int, until_ms: int | None) -> Terms:
    """The patient may choose a shorter consent, but not a longer one (CON-007, CON-017)."""
    longest_ms = now_ms + core.settings.consent_days * DAY_MS
    return Terms(
        code_until_ms=now_ms + core.settings.code_seconds * 1000,
        consent_until_ms=longest_ms if until_ms is None else min(until_ms, longest_ms),
    )


def _location(core: Core, request: PushedRequest, **answer: str) -> str:
    """The redirect_uri exactly as registered, with the response appended to its query."""
    joint = "?" if "?" not in request.redirect_uri else "" if request.redirect_uri.endswith("?") else "&"
    parameters = urlencode({**answer, "state": request.state, "iss": core.settings.public_base_url})
    return f"{request.redirect_uri}{joint}{parameters}"
