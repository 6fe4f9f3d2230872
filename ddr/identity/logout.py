"""Checks the logout tokens by which the provider ends logins (OpenID Connect Back-Channel Logout 1.0 section 2.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddr.durations import DAY_MS
from ddr.identity.errors import LoginRefused
from ddr.identity.provider import Provider
from ddr.identity.tokens import LEEWAY_MS, instant, subject_of, type_of, verified
from ddr.store.patients.logouts import Logout

EVENT = "http://schemas.openid.net/event/backchannel-logout"
TYPES = {"logout+jwt", "jwt", ""}  # section 2.4 recommends the first; older providers leave the type open
LONGEST_ID = 512  # characters of jti and sid
OLDEST_MS = DAY_MS  # the longest time for which a token is remembered, however long it is valid


async def read_logout_token(provider: Provider, token: str, now_ms: int) -> Logout:
    """Whose login ended. Raises LoginRefused with the failed check, or ProviderUnavailable."""
    if type_of(token) not in TYPES:
        raise LoginRefused("typ")
    claims = await verified(provider, token, provider.client_id, now_ms)
    issued_ms = instant(claims, "iat")
    if issued_ms + OLDEST_MS <= now_ms:
        raise LoginRefused("iat")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise LoginRefused("events")
    if "nonce" in claims:
        raise LoginRefused("nonce")  # it may be an ID token
    if "sub" not in claims and "sid" not in claims:
        raise LoginRefused("neither sub nor sid")
    return Logout(
        issuer=provider.issuer,
        token_id=_id(claims, "jti"),
        subject=subject_of(claims) if "sub" in claims else None,
        sid=_id(claims, "sid") if "sid" in claims else None,
        issued_ms=issued_ms,
        expires_ms=min(instant(claims, "exp"), issued_ms + OLDEST_MS) + LEEWAY_MS,
    )


def _id(claims: Mapping[str, Any], name: str) -> str:
    text = claims.get(name)
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST_ID:
        raise LoginRefused(name)
    return text
