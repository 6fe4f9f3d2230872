"""Exports for research: data of those who consented, reduced so that nobody is singled out, and the record of each
export.

Random choices of an export - ids, weeks, order - exist only in its memory.
"""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from random import SystemRandom
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg

from ddr.miv.model import Miv
from ddr.research.approval import Approval
from ddr.research.rules import safe_continuous, safe_singles, shared_groups
from ddr.research.tables import Part, age, part
from ddr.research.weeks import Continuous, Cut, Singles, monday, single_weeks, week_number, whole_weeks
from ddr.series.days import local_day, midnight
from ddr.series.packing import ERROR, HIGH, LOW
from ddr.series.selection import UNCALIBRATED
from ddr.series.slots import shown
from ddr.store.database.pool import Row
from ddr.store.database.rights import Moment
from ddr.store.patients import research as store

BACK_WEEKS = 53  # how far back an export reaches

Found = dict[tuple[str, str], Cut[Continuous] | Cut[Singles]]
"""The weeks of one patient by code and unit; single measurements have no unit here."""


@dataclass(frozen=True)
class Terms:
    """The terms of an export: at least `least` people share any distinguishing feature, `zone` is the calendar's time
    zone, and readings of an uncalibrated sensor count with `uncalibrated` only, as in a summary."""

    approval: Approval
    least: int
    zone: ZoneInfo
    uncalibrated: bool = False


@dataclass
class Export:
    """The content of an export. `weeks` by patient and ValueSet; `counts` says for each kind and code what is left
    out."""

    agreed: int = 0
    parts: list[Part] = field(default_factory=list)
    weeks: dict[UUID, dict[str, set[int]]] = field(default_factory=dict)
    counts: list[dict[str, Any]] = field(default_factory=list)


async def prepare(pool: asyncpg.Pool, read: asyncpg.Pool, mivs: Sequence[Miv], terms: Terms, moment: Moment) -> Export:
    """The export of these kinds as it would be now; `read` is the pool that readings are read from.

    Nothing is written.
    """
    people, today = await store.agreed(pool, moment), local_day(moment.now_ms, terms.zone)
    export = Export(len(people))
    ages = {one.patient_id: age(one.born, today) for one in people}
    for miv in mivs:
        streams: dict[tuple[str, str], dict[UUID, Cut[Any]]] = defaultdict(dict)
        for one in people:
            taken = await store.taken_weeks(pool, one.patient_id, miv.valueset)
            for stream, cut in (await _found(read, one.patient_id, miv, today, terms, taken)).items():
                streams[stream][one.patient_id] = cut
        for (code, unit), cuts in sorted(streams.items()):
            given = _given(miv, code, unit, cuts, ages, terms)
            export.counts.append(_counts(miv, code, unit, cuts, given, terms.least))
            if given is None:
                continue
            export.parts.append(given.part)
            for patient_id, weeks in given.weeks.items():
                mine = export.weeks.setdefault(patient_id, {}).setdefault(miv.valueset, set())
                mine |= {week.number for week in weeks}
    return export


async def _found(read: asyncpg.Pool, patient_id: UUID, miv: Miv, today: date, terms: Terms, taken: set[int]) -> Found:
    """The weeks of a patient before the current one."""
    this_week, zone = week_number(today), terms.zone
    span = (midnight(monday(this_week - BACK_WEEKS), zone), midnight(monday(this_week), zone))
    if not miv.continuous:
        rows = await store.measurements(read, patient_id, miv.valueset, *span)
        return _singles(rows, zone, taken)
    rows = await store.chunks(read, patient_id, miv.valueset, *span)
    counting = [row for row in rows if terms.uncalibrated or row["calibration_state"] not in UNCALIBRATED]
    return _continuous(counting, span, zone, taken)


def _continuous(rows: Sequence[Row], span: tuple[int, int], zone: ZoneInfo, taken: set[int]) -> Found:
    readings: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for row in rows:
        readings[row["code"], row["unit"]] += [one for one in _numbers(row) if span[0] <= one[0] < span[1]]
    return {key: whole_weeks(sorted(found), zone, taken) for key, found in readings.items()}


def _numbers(row: Row) -> Iterator[tuple[int, float]]:
    """Instants and numbers of a chunk; a value beyond the sensor's limits becomes the limit if that is known."""
    beyond = {LOW: row["lower_limit"], HIGH: row["upper_limit"], ERROR: None}
    for at_ms, raw in shown(row["times"], row["vals"], row["start_ms"], row["period_ms"]):
        number = beyond[raw] if raw in beyond else Decimal(raw).scaleb(-row["decimals"])
        if number is not None:
            yield at_ms, float(number)


def _singles(rows: Sequence[Row], zone: ZoneInfo, taken: set[int]) -> Found:
    measured: dict[tuple[str, str], list[tuple[int, tuple[tuple[str, str, Decimal], ...]]]] = defaultdict(list)
    for row in rows:
        measured[row["code"], ""].append((row["effective_ms"], tuple(_values(row["content"]))))
    return {key: single_weeks(found, zone, taken) for key, found in measured.items()}


def _values(content: bytes) -> Iterator[tuple[str, str, Decimal]]:
    """Code, unit and number of a measurement or of its components; nothing else of it."""
    said = json.loads(content, parse_float=Decimal, parse_int=Decimal)
    for one in said.get("component") or [said]:
        if quantity := one.get("valueQuantity"):
            yield one["code"]["coding"][0]["code"], quantity["code"], quantity["value"]


class _Given(NamedTuple):
    """What the rules leave of one kind and code: the part of the export, and its weeks by patient."""

    part: Part
    weeks: Mapping[UUID, Sequence[Continuous | Singles]]


def _given(
    miv: Miv, code: str, unit: str, cuts: Mapping[UUID, Cut[Any]], ages: Mapping[UUID, str], terms: Terms
) -> _Given | None:
    """None when the rules leave nothing."""
    draw, least, most = SystemRandom(), terms.least, terms.approval.weeks
    people = {one: cut.weeks for one, cut in cuts.items()}
    kept: Mapping[UUID, Sequence[Continuous | Singles]]
    kept = (safe_continuous if miv.continuous else safe_singles)(people, least, most, draw)
    if not kept:
        return None
    groups = shared_groups({one: ages[one] for one in kept}, least)
    return _Given(part(miv.name, code, unit, kept, groups, _new_id, draw), kept)


def _new_id() -> str:
    """A random id for this export. It is neither digits only nor like `12e34`, which programs take for numbers."""
    return f"p{secrets.token_hex(8)}"


def _counts(
    miv: Miv, code: str, unit: str, cuts: Mapping[UUID, Cut[Any]], given: _Given | None, least: int
) -> dict[str, Any]:
    """The amount of data of one kind and code, and how much is given. Nothing is reported about fewer than `least`
    people."""
    people = sum(1 for cut in cuts.values() if cut.weeks)
    about: dict[str, Any] = {"kind": miv.name, "code": code, "unit": unit}
    if given is None:
        return {**about, "given": 0, "why": f"fewer than {least} people have weeks of it, or too little in common"}
    weeks = sum(len(cut.weeks) for cut in cuts.values())
    given_weeks = sum(map(len, given.part.weeks.values()))
    return {
        **about,
        "people": {"found": people, "given": len(given.part.weeks)},
        "weeks": {"found": weeks, "given": given_weeks},
        "left out": {
            "weeks with gaps": sum(cut.gaps for cut in cuts.values()),
            "weeks given before": sum(cut.before for cut in cuts.values()),
            "weeks not drawn, or more than others have": weeks - given_weeks,
        },
    }
