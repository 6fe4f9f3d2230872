"""How far the gateway's clock is off."""

from __future__ import annotations

from ddr.http.asgi import Headers, Scope, header
from ddr.http_dates import http_date_ms
from ddr.series.instants import instant_ms


def clock_skew(scope: Scope, now_ms: int) -> Headers:
    """The header Clock-Skew: by how many seconds the gateway is ahead, by its header Date or Sent-At; else nothing."""
    sent = instant_ms(header(scope, "sent-at"))
    if sent is None and (sent := http_date_ms(header(scope, "date"))) is None:
        return ()
    return (("clock-skew", str(round((sent - now_ms) / 1000))),)
