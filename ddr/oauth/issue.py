"""Issues the access token (RFC 9068) and the token response (HDDT pairing.md, Tokens and the Token Response)."""

from __future__ import annotations

import secrets

from starlette.responses import JSONResponse, Response

from ddr.http.core import Core
from ddr.http.tokens import TYPE
from ddr.oauth.errors import NO_STORE, invalid_grant
from ddr.scopes.diga import Diga
from ddr.scopes.parse import Scopes, granted
from ddr.store.authorization.tokens import Family
from ddr.store.database.ids import Kind

SET_BACK_SECONDS = 900  # by which a clock may be set back without invalidating the tokens of the last minutes


def standing_scopes(family: Family, diga: Diga) -> Scopes:
    """What the grant still gives: consents in force, MIVs still permitted. Raises invalid_grant if nothing is left."""
    scopes = granted(family.scope).within(family.consents.keys() & diga.valuesets)
    if family.ended or not scopes.valuesets:
        raise invalid_grant("The patient's consent has ended")
    return scopes


def refresh_until_ms(core: Core, family: Family, now_ms: int) -> int:
    """30 days from now, but never beyond the last consent (AS-048)."""
    return min(now_ms + core.settings.refresh_token_seconds * 1000, max(family.consents.values()))


def token_response(core: Core, family: Family, scopes: Scopes, refresh_token: str, now_ms: int) -> Response:
    """The token response for `scopes`; `sub` is the Pairing ID (AS-020)."""
    seconds = _lifetime(core, family, scopes, now_ms)
    content = {
        "access_token": _access_token(core, family, scopes, seconds, now_ms),
        "token_type": "Bearer",
        "expires_in": seconds,
        "refresh_token": refresh_token,
        "scope": scopes.text,
        "sub": family.pairing_id,
    }
    return JSONResponse(content, headers=NO_STORE)


def _lifetime(core: Core, family: Family, scopes: Scopes, now_ms: int) -> int:
    """In seconds; an access token does not outlive the last consent to its MIVs."""
    consent_ms = max(family.consents[url] for url in scopes.valuesets) - now_ms
    return max(1, min(core.settings.access_token_seconds, consent_ms // 1000))


def _access_token(core: Core, family: Family, scopes: Scopes, seconds: int, now_ms: int) -> str:
    """Has no `cnf` (AS-023), and nothing about the patient except the Pairing ID (AS-025)."""
    now = now_ms // 1000
    claims = {
        "iss": core.settings.public_base_url,
        "aud": core.settings.fhir_base,
        "sub": family.pairing_id,
        "client_id": family.client_id,
        "scope": scopes.text,
        "gid": core.ids.encode(Kind.GRANT, family.grant_no),
        "jti": secrets.token_urlsafe(16),
        "iat": now,
        "nbf": now - SET_BACK_SECONDS,
        "exp": now + seconds,
    }
    token: str = core.signer.sign(claims, TYPE, now_ms)
    core.good_tokens.issued(token, claims)
    return token
