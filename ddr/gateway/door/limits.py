"""The limits of a sensor, which FHIR states with values: missing ones are added, whichever Bundle came first."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ddr.aside import aside
from ddr.gateway.door import metrics
from ddr.gateway.door.codes import Json
from ddr.gateway.door.observations import Observed
from ddr.gateway.door.sampled import Samples, farthest, is_large, lacking, rounded
from ddr.gateway.fields import Number
from ddr.gateway.plausibility import implausible, of_unit
from ddr.gateway.problem import Problem
from ddr.gateway.sensors import NUMBERS_BEYOND, put_sensor
from ddr.http.core import Core
from ddr.series.plausible import Plausible
from ddr.store.devices import devices as store
from ddr.store.series.sensors import SensorKey

_SIDES = {"lower": "below", "upper": "above"}


async def add_limits(core: Core, key: SensorKey, observed: Sequence[Observed]) -> dict[int, Problem]:
    """Add the limits that the values of a sensor state.

    Returns why single values do not fit the sensor's limits, by the places of their entries. SampledData states the
    limits of its sensor. A single value may only say that it is above 250: that may be the limit, unless there are
    numbers above it, which would be lost. Where limits cannot be added, each value is answered by itself.
    """
    samples = [item.samples for item in observed if item.samples is not None]
    first = next((part for part in samples if part.bounds()), None)
    row = await store.sensor_state(core.pool, *key) if first is not None else None
    if first is None or row is None or row["unit"] != first.unit:
        return {}
    known: Json = row["registration"].get("limits") or {}
    refuted: set[str] = set()  # sides
    decimals, plausible = row["decimals"], of_unit(core.catalog, row["miv_url"], row["unit"])
    large = is_large(samples)
    stated, guessed, numbers = await aside(large, _new_limits, samples, known, decimals, plausible)
    registration = metrics.known_sensor(row, observed[0].code, None)
    if stated:
        with suppress(Problem):
            await put_sensor(core, key, registration | {"limits": known | stated})
            known = known | stated
    for side, value in guessed.items():
        limits = known | {side: value}
        try:
            await put_sensor(core, key, registration | {"limits": limits}, numbers)
            known = limits
        except Problem as problem:
            if problem.code == NUMBERS_BEYOND:
                refuted.add(side)
    return await aside(large, _all_unfit, observed, known, refuted, decimals, plausible)


def _new_limits(
    samples: Sequence[Samples], known: Json, decimals: int, plausible: Plausible | None
) -> tuple[Json, Json, Sequence[Number]]:
    """The limits that the samples state, those that single values may mean, and the numbers beside these."""
    stated = lacking(samples, known, decimals)
    guessed = farthest([part for part in samples if not _implausible(part, plausible)], known | stated, decimals)
    return stated, guessed, _extremes(samples, plausible) if guessed else ()


def _all_unfit(
    observed: Sequence[Observed], known: Json, refuted: set[str], decimals: int, plausible: Plausible | None
) -> dict[int, Problem]:
    """Why single values beyond something do not fit, by the places of their entries."""
    found = {
        item.entry.index: _implausible(item.samples, plausible) or _unfit(item.samples, known, refuted, decimals)
        for item in observed
        if item.samples is not None and item.samples.beyond
    }
    return {index: problem for index, problem in found.items() if problem is not None}


def _extremes(samples: Sequence[Samples], plausible: Plausible | None) -> list[Number]:
    """The least and the greatest number, without those that are refused."""
    numbers = [number for part in samples for number in part.numbers()]
    if plausible is not None:
        numbers = [number for number in numbers if plausible.least <= number <= plausible.most]
    return [min(numbers), max(numbers)] if numbers else []


def _implausible(samples: Samples, plausible: Plausible | None) -> Problem | None:
    """Why the number that a value is beyond is not possible."""
    for value in (samples.beyond or {}).values():
        if plausible is not None and not plausible.least <= value <= plausible.most:
            return implausible(plausible.refusal(value))
    return None


def _unfit(samples: Samples, known: Json, refuted: set[str], decimals: int) -> Problem | None:
    """Why a value beyond something is neither L nor U of a sensor with the limits `known`.

    `refuted`: the sides on which numbers prove that what a value is beyond is not the limit.
    """
    for side, value in (samples.beyond or {}).items():
        said, limit = f"The value is {_SIDES[side]} {value}", known.get(side)
        if side in refuted:
            return Problem(
                422, "range", f"{said}, but there are numbers {_SIDES[side]} it, so it is not a limit of the sensor"
            )
        if limit is not None and (rounded(value, decimals) - limit) * (1 if side == "lower" else -1) > 0:
            return Problem(
                422, "range", f"{said}, but the sensor's {side} limit is {limit}, so the series cannot hold it"
            )
    return None
