"""POST /oauth/revoke: the DiGA reports that consent has ended on its side (RFC 7009; HDDT
authorization-server-revocation-endpoint.md).

That is the patient's withdrawal, so all tokens of the Pairing ID end together with the stored consent, not only one
family (HDDT pairing.md, Refresh Tokens). The answer is always 200: a token that names nothing of this client has no
effect, but the attempt is recorded.
"""

from __future__ import annotations

from starlette.responses import Response

from ddr.http.exchange import concerns
from ddr.http.tokens import InvalidToken, TokenVerifier
from ddr.oauth import refresh_tokens
from ddr.oauth.endpoint import Call, Handler
from ddr.oauth.errors import NO_STORE
from ddr.oauth.parameters import required
from ddr.store.audit.trail import Event, record
from ddr.store.authorization.tokens import client_of, find_pairing
from ddr.store.authorization.unpairing import Party, unpair

WITHOUT_EFFECT = {"endpoint": "/oauth/revoke", "reason": "token-not-of-this-client"}


def revocation(verifier: TokenVerifier) -> Handler:
    """The handler; `verifier` reads access tokens, which end the same pairing (RFC 7009 section 2.1)."""

    async def revoke(call: Call) -> Response:
        core, now_ms = call.core, call.core.clock()
        pairing_id = _named_pairing(call, verifier, required(call.parameters, "token"))
        pairing = pairing_id and await find_pairing(core.pool, pairing_id)
        if pairing and await client_of(core.pool, pairing) == call.diga.client_id:
            concerns(pairing_id)
            await unpair(core.pool, pairing.patient_id, pairing.pairing_no, Party.DIGA, "revoked", now_ms)
        else:
            await record(
                core.pool,
                Event.UNPAIRING_REFUSED,
                now_ms,
                patient_id=pairing.patient_id if pairing else None,
                client_id=call.diga.client_id,
                pairing_id=pairing_id if pairing else None,
                detail=WITHOUT_EFFECT,
            )
        return Response(headers=NO_STORE)

    return revoke


def _named_pairing(call: Call, verifier: TokenVerifier, token: str) -> str | None:
    """The Pairing ID in an authentic token. The patient's wish counts, even with a retired or expired refresh token."""
    if contents := refresh_tokens.read(call.core.secrets["refresh-tokens"], token):
        return contents.pairing_id
    try:
        return verifier.verify(token, call.core.clock()).pairing_id
    except InvalidToken:
        return None
