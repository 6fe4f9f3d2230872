"""Reads an instant in RFC 3339 text (section 5.6): the one reader that all of the gateway API uses."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from ddr.durations import DAY_MS, MINUTE_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_MILLISECOND = timedelta(milliseconds=1)
_USUAL = frozenset((20, 24, 25))  # lengths of 2026-11-22T10:00:00Z, with milliseconds, and with an offset

# Only offsets that exist and that FHIR allows. A leap second is read as the first instant after it.
_RFC_3339 = re.compile(
    r"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)"
    r"(?:\.([0-9]{1,18}))?(?:[Zz]|([+-])(0[0-9]|1[0-3]):([0-5][0-9])|([+-])14:00)"
)


def instant_ms(text: Any) -> int | None:
    """Milliseconds since 1970 of an RFC 3339 instant; further digits are cut off. None when it is not one."""
    if not isinstance(text, str):
        return None
    # from Python 3.14 on 24:00:00 is the next midnight, which it is neither in RFC 3339 nor in FHIR
    if len(text) in _USUAL and text[7:17:3] == "-T::" and text[11:13] < "24" and _usual_zone(text):
        try:
            return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
        except ValueError:
            pass  # a leap second, or not an instant
    return _exactly(text)


def _usual_zone(text: str) -> bool:
    if text[-1] == "Z":
        return text[19] in "Z."
    return text[19] in "+-" and text[22:23] == ":" and text[20:22] < "14" and text[23:24] < "6"


def _exactly(text: str) -> int | None:
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, hours, minutes, far = match.groups()
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError:  # 30 February
        return None
    offset = int(hours) * 60 + int(minutes) if sign else 14 * 60 if far else 0
    clock = int(hour) * 60 + int(minute) + (offset if (sign or far) == "-" else -offset)
    return days * DAY_MS + clock * MINUTE_MS + int(second) * 1000 + int(((fraction or "") + "000")[:3])
