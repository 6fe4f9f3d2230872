"""The header fields RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10), by which clients learn of
limits before they meet them."""

from __future__ import annotations

GRACE_PERIOD = "grace-period"  # one answer per pairing and MIV in that time (OPS-012)
LOAD = "load"  # what the recorder can do at present; no quota is promised
PUSHED_REQUESTS = "pushed-requests"  # of a DiGA that are open at once
UNKNOWN_TOKENS = "unknown-tokens"  # of a network address
LOGINS = "logins"


def limited(policy: str, seconds: int, quota: int | None = None, window: int | None = None) -> dict[str, str]:
    """Nothing is left of this policy for so many seconds; it grants `quota` requests in `window` seconds, if told."""
    fields = {"RateLimit": f'"{policy}";r=0;t={max(1, seconds)}'}
    if quota is not None:
        fields["RateLimit-Policy"] = f'"{policy}";q={quota}' + ("" if window is None else f";w={window}")
    return fields


def lowercase(fields: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The same as the replies of `ddr.http.asgi` have them."""
    return tuple((name.lower(), value) for name, value in fields.items())
