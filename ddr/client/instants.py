"""FHIR's dates and times as instants (FHIR R4 datatypes.html#dateTime)."""

from __future__ import annotations

from datetime import UTC, datetime

FORMS = {4: "-01-01", 7: "-01"}  # a year, a month: their beginning


def instant(text: str) -> datetime:
    """The instant, the beginning of a day, month or year; UTC where there is no offset. Raises ValueError."""
    found = datetime.fromisoformat(text + FORMS.get(len(text), ""))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
