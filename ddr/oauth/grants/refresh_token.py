"""grant_type=refresh_token (RFC 6749 section 6, RFC 9700 section 4.14): rotation, and the end of a stolen family."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import NamedTuple

from starlette.responses import Response

from ddr.http.exchange import concerns, names_pairing, needs_record
from ddr.oauth import refresh_tokens, rotation
from ddr.oauth.endpoint import Call
from ddr.oauth.errors import OAuthError, excessive_scope, invalid_grant, malformed_scope
from ddr.oauth.grants.unanswered import Tokens, let_repeat
from ddr.oauth.issue import refresh_until_ms, standing_scopes, token_response
from ddr.oauth.parameters import required
from ddr.oauth.rotation import Rotation
from ddr.operations.status.functions import TOKEN
from ddr.scopes.parse import ScopeError, Scopes, parse
from ddr.store.audit.request_log import Retired
from ddr.store.audit.trail import Event
from ddr.store.authorization import restore, rotations, tokens
from ddr.store.authorization.rotations import Rotate
from ddr.store.authorization.tokens import Family
from ddr.store.database.digest import sha256
from ddr.store.database.faults import FAULTS, UNAVAILABLE, fault_of
from ddr.store.database.ids import Kind
from ddr.store.outages import reports

log = logging.getLogger(__name__)


class _Presented(NamedTuple):
    """An authentic refresh token as presented, the grant that it names, and the one token that follows it."""

    token: str
    pairing_id: str
    grant_no: int
    successor: str


async def refresh(call: Call) -> Response:
    """New tokens for the current refresh token; the same ones again for a repetition within seconds.

    Only seconds in which the recorder could be reached count (ddr.http.presence). There is no such limit for a client
    that had disconnected before the answer, was told 503 for a rotation that was made, or whose worker was killed
    around it.
    """
    presented = _presented(call)
    if "scope" not in call.parameters and (family := await _rotate(call, presented)):  # nearly always: one statement
        concerns(family.pairing_id)
        return _answer(call, presented, family, standing_scopes(family, call.diga))
    # What cannot be rotated is judged. A request for fewer scopes may ask for too many, so it is judged before anything
    # changes.
    family = await _issued_to_client(call, presented)
    outcome = await _judged(call, family, presented)
    scopes = _not_widened(call, standing_scopes(family, call.diga))
    if outcome is Rotation.AHEAD and not await _adopt(call, family, presented):
        raise _unusable()
    if outcome is Rotation.ROTATE and not await _rotate(call, presented):
        return await refresh(call)  # another request was faster; judge anew what it left behind
    return _answer(call, presented, family, scopes)


def _presented(call: Call) -> _Presented:
    """The token of the request. Raises invalid_grant for one that was not issued here."""
    token, secret = required(call.parameters, "refresh_token"), call.core.secrets["refresh-tokens"]
    contents = refresh_tokens.read(secret, token)
    if contents is None:
        raise _unusable()
    name = call.core.ids.decode(contents.grant_id)
    if name is None or name[0] is not Kind.GRANT:
        raise _unusable()
    names_pairing(contents.pairing_id)
    return _Presented(token, contents.pairing_id, name[1], refresh_tokens.successor(secret, token))


def _answer(call: Call, presented: _Presented, family: Family, scopes: Scopes) -> Response:
    """The tokens; when the client disconnects before they leave, the presented token may be repeated.

    The rotation, of this request or of the one that it repeats, is durable with this request's record.
    """
    needs_record(Retired(family.patient_id, family.grant_no, sha256(presented.token)))
    answer = token_response(call.core, family, scopes, presented.successor, call.core.clock())
    return Tokens(answer, partial(_let_repeat, call, presented))


def _let_repeat(call: Call, presented: _Presented) -> None:
    let_repeat(call.core, presented.pairing_id, presented.grant_no, sha256(presented.successor))


async def _issued_to_client(call: Call, presented: _Presented) -> Family:
    """The family of a token of this client; another client's token is refused and not changed."""
    family = await tokens.find_family(call.core.pool, presented.pairing_id, presented.grant_no, call.arrived_ms)
    if family is None or family.client_id != call.diga.client_id:
        raise _unusable()
    concerns(family.pairing_id)
    return family


async def _judged(call: Call, family: Family, presented: _Presented) -> Rotation:
    """ROTATE, REPEAT or AHEAD. Raises invalid_grant for a token that was reused or has expired.

    A reused token ends its family, and only that (AS-027). What looks like reuse is not when the answer to the last
    rotation may have been lost with its worker (REPEAT), or when the database was restored from a backup and has
    forgotten the token (AHEAD). An expired token ends its family, too, so that setting a clock back does not revive it.
    """
    core = call.core

    def there_ms(from_ms: int, until_ms: int) -> int:
        return core.presence.there_ms(from_ms, until_ms, core.notices.closed(TOKEN))

    repeat_ms = core.settings.refresh_repeat_seconds * 1000
    match rotation.decide(family, sha256(presented.token), call.arrived_ms, repeat_ms, there_ms):
        case Rotation.REUSE if await _went_with_its_worker(call, family, presented):
            return Rotation.REPEAT
        case Rotation.REUSE if await _is_ahead(call, family, presented):
            return Rotation.AHEAD
        case Rotation.REUSE:
            await tokens.revoke_family(core.pool, family, Event.REFRESH_REUSED, call.arrived_ms)
        case Rotation.EXPIRED:
            if not family.ended and family.refresh_expires_ms is not None:
                await tokens.expire_family(core.pool, family, call.arrived_ms)
        case outcome:
            return outcome
    raise _unusable()


def _not_widened(call: Call, scopes: Scopes) -> Scopes:
    """The requested scopes, which may be fewer than those granted but never more (CON-004)."""
    if "scope" not in call.parameters:
        return scopes
    try:
        asked = parse(call.parameters["scope"])
    except ScopeError as error:
        raise malformed_scope(str(error)) from None
    if not asked.valuesets:
        raise malformed_scope("it names no kind of data")
    if not scopes.covers(asked):
        beyond = next(scope for scope in asked.text.split(" ") if scope not in scopes.text.split(" "))
        raise excessive_scope(f"{beyond} was not granted or is no longer granted")
    return asked


async def _rotate(call: Call, presented: _Presented) -> Family | None:
    """The family, whose current token is the successor from now on; None when the presented token was not current, or
    the client's grant is not in force."""
    now_ms = call.core.clock()
    asked = Rotate(
        presented.pairing_id,
        presented.grant_no,
        call.arrived_ms,
        sha256(presented.token),
        sha256(presented.successor),
        now_ms,
        now_ms + call.core.settings.refresh_token_seconds * 1000,
        call.certificate_sha256,
        call.diga.client_id,
        call.diga.valuesets,
    )
    try:
        return await rotations.rotate(call.core.pool, asked)
    except FAULTS as error:
        if fault_of(error) == UNAVAILABLE:  # it may have been made nevertheless
            _let_repeat(call, presented)
        raise


async def _went_with_its_worker(call: Call, family: Family, presented: _Presented) -> bool:
    """Whether the answer to the last rotation may have been lost with the worker that made it."""
    if sha256(presented.token) != family.previous_sha256 or family.rotated_ms is None:
        return False
    return await reports.lost_around(call.core.pool, family.rotated_ms, call.arrived_ms)


async def _is_ahead(call: Call, family: Family, presented: _Presented) -> bool:
    """Whether the token comes after the one that this database considers current."""
    secret, current = call.core.secrets["refresh-tokens"], family.refresh_sha256
    assert current is not None  # otherwise it would have been judged EXPIRED
    return not await asyncio.to_thread(refresh_tokens.leads_to, secret, presented.token, current)


async def _adopt(call: Call, family: Family, presented: _Presented) -> bool:
    """After a declared restore, once per grant: accept the token that this database has not seen (docs/backup.md).

    It must come with the certificate that held the grant, unless the DiGA has another certificate by now.
    """
    now_ms, known = call.core.clock(), family.certificate_sha256
    if known is not None and known != call.certificate_sha256 and known.hex() in call.diga.certificates:
        return False
    adopted = await restore.adopt(
        call.core.pool,
        family,
        sha256(presented.token),
        sha256(presented.successor),
        refresh_until_ms(call.core, family, now_ms),
        now_ms,
        call.certificate_sha256,
    )
    if not adopted:
        log.error("refresh.unknown_to_database", extra={"client_id": family.client_id})
    return adopted


def _unusable() -> OAuthError:
    return invalid_grant("The refresh token is invalid, expired or revoked")
