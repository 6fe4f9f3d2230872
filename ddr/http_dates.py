"""Parses dates in HTTP's formats (RFC 9110 section 5.6.7)."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime


def http_date_ms(text: str | None) -> int | None:
    """A date of HTTP in milliseconds since 1970; None for any other text, which recipients must then ignore.

    The asctime format names no zone: it is in UTC, not in the zone of this machine.
    """
    try:
        found = parsedate_to_datetime(text or "")
        return int(found.replace(tzinfo=found.tzinfo or UTC).timestamp()) * 1000
    except (ValueError, OverflowError, TypeError):
        return None
