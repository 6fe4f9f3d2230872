"""FHIR's dates and times as instants (FHIR R4 datatypes.html#dateTime)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

FORMS = {4: "-01-01", 7: "-01"}  # a year, a month: their beginning
SECONDS = slice(17, 19)


def instant(text: str) -> datetime:
    """The instant, the beginning of a day, month or year; UTC where there is no offset. Raises ValueError."""
    leap = timedelta(seconds=text[SECONDS] == "60")  # FHIR allows it for leap seconds, Python knows none
    if leap:
        text = f"{text[: SECONDS.start]}59{text[SECONDS.stop :]}"
    found = datetime.fromisoformat(text + FORMS.get(len(text), "")) + leap
    return found if found.tzinfo else found.replace(tzinfo=UTC)
