"""How far the gateway's clock is off."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from ddr.http.asgi import Headers, Scope, header
from ddr.series.instants import instant_ms


def clock_skew(scope: Scope, now_ms: int) -> Headers:
    """The header Clock-Skew: by how many seconds the gateway is ahead, by its header Date or Sent-At; else nothing."""
    sent = instant_ms(header(scope, "sent-at"))
    if sent is None:
        try:
            sent = int(parsedate_to_datetime(header(scope, "date") or "").timestamp() * 1000)
        except (ValueError, TypeError, OverflowError):
            return ()
    return (("clock-skew", str(round((sent - now_ms) / 1000))),)
