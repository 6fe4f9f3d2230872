"""How far the gateway's clock is off."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from ddr.http.asgi import Headers, Scope, header
from ddr.series.instants import instant_ms


def clock_skew(scope: Scope, now_ms: int) -> Headers:
    """The header Clock-Skew: by how many seconds the gateway is ahead, by its header Date or Sent-At; else nothing."""
    sent = instant_ms(header(scope, "sent-at"))
    if sent is None:
        try:
            date = parsedate_to_datetime(header(scope, "date") or "")
            # a form without a zone (asctime, RFC 9110 section 5.6.7) is in UTC, not in the zone of this machine
            sent = int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1000)
        except (ValueError, TypeError, OverflowError):
            return ()
    return (("clock-skew", str(round((sent - now_ms) / 1000))),)
