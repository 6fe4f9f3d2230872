"""The header fields RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10), by which clients learn of
limits before they meet them."""

from __future__ import annotations

GRACE_PERIOD = "grace-period"  # one answer per pairing and MIV in that time (OPS-012)
LOAD = "load"  # what the recorder can serve at present; no quota is promised
PUSHED_REQUESTS = "pushed-requests"  # of a DiGA, open at the same time
UNKNOWN_TOKENS = "unknown-tokens"  # of a network address
LOGINS = "logins"


def limited(policy: str, seconds: int, quota: int | None = None, window: int | None = None) -> dict[str, str]:
    """This policy grants nothing for so many seconds; it allows `quota` requests in `window` seconds, if given."""
    fields = {"RateLimit": f'"{policy}";r=0;t={max(1, seconds)}'}
    if quota is not None:
        fields["RateLimit-Policy"] = f'"{policy}";q={quota}' + ("" if window is None else f";w={window}")
    return fields


def lowercase(fields: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """The same in the form of the replies of `ddr.http.asgi`."""
    return tuple((name.lower(), value) for name, value in fields.items())
