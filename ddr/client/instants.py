"""FHIR's dates and times as instants (FHIR R4 datatypes.html#dateTime)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

FORMS = {4: "-01-01", 7: "-01"}  # to complete a year or a month to its first day
SECONDS = slice(17, 19)


def instant(text: str) -> datetime:
    """The instant; of a day, month or year its beginning. UTC where there is no offset. Raises ValueError."""
    leap = timedelta(seconds=text[SECONDS] == "60")  # FHIR allows 60 for leap seconds, Python does not
    if leap:
        text = f"{text[: SECONDS.start]}59{text[SECONDS.stop :]}"
    found = datetime.fromisoformat(text + FORMS.get(len(text), "")) + leap
    return found if found.tzinfo else found.replace(tzinfo=UTC)
