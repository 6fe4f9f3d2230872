"""grant_type=authorization_code (RFC 6749 section 4.1.3, RFC 7636 section 4.5): a code is redeemed once."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response

from ddr.http.core import Core
from ddr.http.exchange import concerns, names_pairing
from ddr.oauth import pkce, refresh_tokens
from ddr.oauth.endpoint import Call
from ddr.oauth.errors import OAuthError, invalid_grant
from ddr.oauth.grants.unanswered import Redemption, Tokens, good_again, take_back
from ddr.oauth.issue import refresh_until_ms, standing_scopes, token_response
from ddr.oauth.parameters import required
from ddr.store.audit.trail import Event
from ddr.store.authorization import tokens
from ddr.store.authorization.tokens import Code, Family
from ddr.store.database.digest import sha256
from ddr.store.database.faults import FAULTS
from ddr.store.database.ids import Kind
from ddr.store.database.settling import was_committed

ROUNDS = 3  # a code is redeemed once per pairing: there is time to see whether the client is still there


async def exchange(call: Call) -> Response:
    """Tokens for a code that was issued to this client, for this redirect_uri and this code_challenge."""
    presented = required(call.parameters, "code")
    redirect_uri = required(call.parameters, "redirect_uri")
    verifier = required(call.parameters, "code_verifier")
    code = await _issued_to_client(call, presented)
    family = await _family(call, code)
    await _not_replayed(call, presented, code, family, verifier)
    if not code.lasts(call.arrived_ms):
        raise _unusable()
    if code.redirect_uri != redirect_uri:
        raise invalid_grant("The redirect_uri differs from the one in the authorization request")
    if not pkce.proves(verifier, code.code_challenge):
        raise invalid_grant("The code_verifier does not match the code_challenge")
    scopes = standing_scopes(family, call.diga)
    refresh_token = await _redeem(call, presented, code, family)
    if refresh_token is None:
        return await _after_another(call, presented, verifier)
    answer = token_response(call.core, family, scopes, refresh_token, call.core.clock())
    return Tokens(answer, partial(_take_back, call.core, presented, code, family, refresh_token), ROUNDS)


async def _issued_to_client(call: Call, presented: str) -> Code:
    """Unknown codes and codes of another client get the same answer; the latter stay valid for their owner."""
    code = await tokens.load_code(call.core.pool, sha256(presented))
    if code is None or code.client_id != call.diga.client_id:
        if code is not None and (family := await _family_of(call, code)):
            names_pairing(family.pairing_id)
        raise _unusable()
    return code


async def _family(call: Call, code: Code) -> Family:
    family = await _family_of(call, code)
    if family is None:
        raise _unusable()
    names_pairing(family.pairing_id)
    concerns(family.pairing_id)
    return family


async def _family_of(call: Call, code: Code) -> Family | None:
    return await tokens.load_family(call.core.pool, code.patient_id, code.grant_no, call.arrived_ms)


async def _not_replayed(call: Call, presented: str, code: Code, family: Family, verifier: str) -> None:
    """A second use revokes what the first one got (RFC 6749 section 4.1.2), unless both were under way at once."""
    if code.redeemed_ms is None or await _is_good_again(call, presented, code, family, verifier):
        return
    if call.arrived_ms > code.redeemed_ms:
        await tokens.revoke_family(call.core.pool, family, Event.CODE_REPLAYED, call.arrived_ms)
    raise _unusable()


async def _is_good_again(call: Call, presented: str, code: Code, family: Family, verifier: str) -> bool:
    """Whether this client redeemed the code without getting an answer."""
    assert code.redeemed_ms is not None
    own = family.certificate_sha256 in (None, call.certificate_sha256) and pkce.proves(verifier, code.code_challenge)
    unused = not family.ended and family.previous_sha256 is None and code.lasts(call.arrived_ms)
    return own and unused and await good_again(call.core, sha256(presented), code.redeemed_ms, call.arrived_ms)


async def _after_another(call: Call, presented: str, verifier: str) -> Response:
    """Another request was faster. It may have been an earlier one of this client, which disconnected and retries."""
    code = await _issued_to_client(call, presented)
    if code.lasts(call.core.clock()):
        family = await _family(call, code)
        if code.redeemed_ms is None or await _is_good_again(call, presented, code, family, verifier):
            return await exchange(call)
    raise _unusable()


async def _redeem(call: Call, presented: str, code: Code, family: Family) -> str | None:
    """The first refresh token; None when the code is no longer valid."""
    core, now_ms = call.core, call.core.clock()
    contents = refresh_tokens.Contents(family.pairing_id, core.ids.encode(Kind.GRANT, family.grant_no))
    refresh_token = refresh_tokens.mint(core.secrets["refresh-tokens"], contents)
    until_ms = refresh_until_ms(core, family, now_ms)
    refresh_sha256 = sha256(refresh_token)

    async def is_redeemed() -> bool:
        now = await tokens.load_family(core.pool, family.patient_id, family.grant_no, call.arrived_ms)
        return now is not None and now.refresh_sha256 == refresh_sha256

    try:
        redeemed = await tokens.redeem(
            core.pool, sha256(presented), refresh_sha256, until_ms, now_ms, call.certificate_sha256
        )
    except FAULTS as error:  # presented again, a used code would end the grant
        if not await was_committed(error, is_redeemed):
            _take_back(core, presented, code, family, refresh_token)
            raise
        redeemed = True
    return refresh_token if redeemed else None


def _take_back(core: Core, presented: str, code: Code, family: Family, refresh_token: str) -> None:
    take_back(core, Redemption(sha256(presented), family, sha256(refresh_token), code.expires_ms))


def _unusable() -> OAuthError:
    return invalid_grant("The authorization code is invalid, expired or already used")
