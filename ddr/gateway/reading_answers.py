"""The answer to each reading of an upload: accepted, duplicate, or rejected with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ddr.http.core import Core
from ddr.series.packing import ERROR, HIGH, LOW, Reading
from ddr.series.reading import AFTER_END, BEFORE_START, DELETED, Rejection, Rules
from ddr.store.series.merging import Outcome
from ddr.store.series.sensors import Sensor

Item = dict[str, Any]

AS_CORRECTION = '"correction": true'
SHOWN: Item = {"status": "accepted", "shown": True}
HIDDEN: Item = {
    "status": "accepted",
    "shown": False,
    "reason": "superseded",
    "detail": "another reading for the same sampling time is shown: it is nearer, or this reading is an error",
}
CONFLICT: Item = {
    "reason": "conflict",
    "detail": f"another value is stored for this instant; to replace it, send the right value with {AS_CORRECTION}",
}
SUPERSEDED: Item = {
    "status": "duplicate",
    "shown": False,
    "reason": "superseded",
    "detail": "a correction has replaced this value",
}
BEHIND: Item = {
    "status": "accepted",
    "shown": False,
    "reason": "superseded",
    "detail": f"a correction for this instant is shown instead; to replace it, send this value with {AS_CORRECTION}",
}
DUPLICATE: Item = {"status": "duplicate"}
BEYOND = {LOW: "L", HIGH: "U"}


def answered(
    core: Core, items: Sequence[Any], found: Sequence[Reading | Rejection], outcome: Outcome, sensor: Sensor
) -> dict[str, Any]:
    """The answer to an upload: how many of its items were accepted, known or rejected, and the outcome of each.

    `found` has the result of parsing each item, `outcome` what was done with the readings. The metrics count it.
    """
    answer = _answer(items, found, outcome, sensor)
    core.metrics.answered("readings", answer["items"], "status")
    if outcome.accepted:
        miv = core.catalog.by_valueset(sensor.miv_url)
        assert miv is not None  # its rules were applied
        core.metrics.arrived(miv.name, core.clock() - max(outcome.accepted)[0])
    return answer


def _answer(
    items: Sequence[Any], found: Iterable[Reading | Rejection], outcome: Outcome, sensor: Sensor
) -> dict[str, Any]:
    """The outcome of each item; of equal readings in one upload, the first counts and the others are duplicates."""
    left = set(outcome.accepted)
    answers = [_item(item, reading, left, outcome, sensor.rules) for item, reading in zip(items, found, strict=True)]
    counts = {"accepted": 0, "duplicate": 0, "rejected": 0}
    for answer in answers:
        counts[answer["status"]] += 1
    return {**counts, "items": answers}


def _item(item: Any, reading: Reading | Rejection, left: set[Reading], outcome: Outcome, rules: Rules) -> Item:
    """The answer to one item; an accepted reading is removed from `left`."""
    if isinstance(reading, Rejection):
        return _rejected(reading)
    if reading in left:
        left.remove(reading)
        return BEHIND if reading in outcome.superseded else _accepted(item, reading, outcome, rules)
    if reading in outcome.deleted:
        return _rejected(DELETED)
    if reading in outcome.superseded:
        return SUPERSEDED
    if reading in outcome.early:
        return _rejected(BEFORE_START)
    return _rejected(AFTER_END) if reading in outcome.late else DUPLICATE


def _accepted(item: Any, reading: Reading, outcome: Outcome, rules: Rules) -> Item:
    answer = HIDDEN if reading in outcome.hidden else SHOWN
    if reading in outcome.rivals:
        answer = {**answer, **CONFLICT}
    raw = reading[1]
    if raw in BEYOND:  # said so, or a number beyond the sensor's limits
        return answer if isinstance(item["value"], str) else {**answer, "stored": BEYOND[raw]}
    if rules.plausible is None or raw == ERROR:
        return answer
    warning = rules.plausible.warning(raw / 10**rules.decimals)
    return {**answer, "warning": warning} if warning else answer


def _rejected(rejection: Rejection) -> Item:
    return {"status": "rejected", "reason": rejection.reason, "detail": rejection.detail, "retry": rejection.retry}
