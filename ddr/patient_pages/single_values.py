"""Single measurements in the patient's words: what, how much, when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ddr.fhir.representation import exact_value
from ddr.http.core import Core
from ddr.patient_pages.dates import given_day, short_moment
from ddr.patient_pages.names import title_of
from ddr.patient_pages.numbers import local
from ddr.patient_pages.texts import text
from ddr.patient_pages.texts.codes import name_of
from ddr.store.database.pool import Row

UNITS = {"mm[Hg]": "mmHg"}  # UCUM as people write it


@dataclass(frozen=True)
class Value:
    """One number of a measurement. `text` is "" when there is none; then `note` says why."""

    code: str
    name: str
    text: str
    unit: str
    note: str


@dataclass(frozen=True)
class Single:
    """One measurement."""

    when: str
    title: str
    values: tuple[Value, ...]


def single(core: Core, row: Row, lang: str) -> Single:
    """From a row of ddr.store.patients.export."""
    return Single(
        when=_when(row, lang),
        title=title_of(core, row["miv_url"], lang),
        values=tuple(replace(value, text=local(lang, value.text)) for value in values(row, lang)),
    )


def _when(row: Row, lang: str) -> str:
    """Day and time; for a reference value, the day, month or year from which it applies."""
    begins = exact_value(row["content"]).get("effectivePeriod", {}).get("start", "T")
    return short_moment(lang, row["effective_ms"]) if "T" in begins else given_day(lang, begins, row["effective_ms"])


def values(row: Row, lang: str) -> Iterator[Value]:
    """The numbers of a measurement: its own, or those of its components."""
    content = exact_value(row["content"])
    for part in content.get("component") or [content]:
        code = part["code"]["coding"][0]["code"]
        quantity = part.get("valueQuantity")
        name = name_of(lang, code)
        if quantity is None:
            yield Value(code, name, "", "", text(lang, "data.no_value"))
        else:
            number = f"{quantity.get('comparator', '')}{quantity['value']}"
            yield Value(code, name, number, UNITS.get(quantity["code"], quantity["code"]), "")
