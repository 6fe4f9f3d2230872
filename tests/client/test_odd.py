"""Observations that do not have the form FHIR requires: they are reported as such, and do not affect the others."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ddr.cli.clients.output import opened
from ddr.client import Change, ClientError, Cursor, Kind, Reading, Series, Unreadable, readings
from ddr.client.data import rows_of
from ddr.client.pull import Known
from ddr.client.series import expected_of, readings_of
from tests.client.foreign import Foreign, Json, bundle, chunk, recorder_of

DATA = chunk("x")["valueSampledData"]
METRIC = {"resourceType": "DeviceMetric", "id": "m", "calibration": "x"}


def sampled(**members: Any) -> Json:
    return {"valueSampledData": {name: value for name, value in {**DATA, **members}.items() if value is not None}}


ODD: list[Json] = [
    {"effectivePeriod": "yesterday"},
    {"effectivePeriod": {"start": "yesterday"}},
    {"effectivePeriod": {"start": 5}},
    {"code": "99504-3"},
    {"code": {"coding": ["99504-3"]}},
    {"meta": {"versionId": "1"}, "device": "Device/1"},
    {"device": {"reference": "DeviceMetric/m"}},
    {"contained": ["x"]},
    {"component": [5]},
    {"component": [{"valueQuantity": "5"}]},
    {"valueSampledData": None, "valueQuantity": 5},
    {"valueSampledData": None, "valueQuantity": {"value": "much"}},
    {"valueSampledData": None, "valueQuantity": {"value": float("nan")}},
    {"valueSampledData": None, "valueQuantity": {"value": 5, "comparator": ["<"]}},
    {"valueSampledData": "100 101"},
    sampled(origin={"value": 0, "code": "mmol/L"}),  # must not be used (HDDT measurement-cgm.md)
    {"valueSampledData": None, "valueQuantity": {"value": 5, "unit": "mmol/L"}},
    sampled(origin=None),
    sampled(period=None),
    sampled(period="soon"),
    sampled(period=float("inf")),
    sampled(period=0),
    sampled(period=-300_000),
    sampled(dimensions=2),
    sampled(factor="x"),
    sampled(data=[100, 101]),
    sampled(data="100 much"),
    sampled(data="100 NaN"),
    sampled(data="100 Infinity"),
    sampled(data="100 1_0"),
    sampled(data="100 1e999999"),
]


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_observation_is_an_error_of_the_library(odd: Json) -> None:
    """Before: an error of Python, or a value that is none."""
    one = chunk("odd", **odd)
    with pytest.raises(Unreadable) as told:
        list(readings_of(one, {"DeviceMetric/m": METRIC}))
    assert told.value.observation_id == "odd" and isinstance(told.value, ClientError)
    with pytest.raises(Unreadable):
        list(readings([chunk("a"), one], {"DeviceMetric/m": METRIC}))


@pytest.mark.parametrize("odd", ODD)
async def test_one_odd_observation_keeps_nobody_from_the_others(odd: Json, tmp_path: Path) -> None:
    """Before: whoever made rows of a page with one never got past it."""
    pages = {"DeviceMetric/m": METRIC, "Observation?": bundle(chunk("a"), chunk("odd", **odd), chunk("b"))}
    recorder = await recorder_of(Foreign(pages), tmp_path)
    found = [one async for one in recorder.pull()]
    rows = [(row["change"], row["observation_id"], row["value"]) for row in rows_of(found)]
    assert [row for row in rows if row[1] != "odd"] == [
        ("new", name, value) for name in "ab" for value in (Decimal(100), Decimal(101))
    ]
    assert [row for row in rows if row[1] == "odd"] == [("unreadable", "odd", None)]
    series = Series(found)
    assert {one.observation_id for one in series.readings()} == {"a", "b"} and series.unreadable() == ["odd"]
    assert series.expected() == []


def test_half_a_character_is_written_as_one_that_is_not_known(tmp_path: Path) -> None:
    """Before: an error of Python whenever it was to be written as a table, and nothing behind it was pulled."""
    half = [{**chunk("a\ud800"), "status": "x\ud800"}, chunk("b\ud800", effectivePeriod=None, status="y\ud800")]
    changes = [Change(Kind.NEW, one["id"], one, {}) for one in half]
    rows = [{"pairing": "p", **row} for row in rows_of(changes)]
    assert [(row["observation_id"], row["status"]) for row in rows] == [("a?", "x?"), ("a?", "x?"), ("b?", "y?")]
    assert opened(tmp_path, "parquet").write(rows) == 3
    assert Series(changes).to_arrow().num_rows == 2


def test_what_is_in_error_is_dropped_whatever_its_form() -> None:
    one = chunk("a", status="entered-in-error", effectivePeriod=5)
    (row,) = rows_of([Change(Kind.ENTERED_IN_ERROR, "a", one, {})])
    assert row["change"] == "entered-in-error"


def test_a_span_of_an_odd_form_is_an_error_of_the_library() -> None:
    with pytest.raises(Unreadable):
        expected_of(chunk("a", dataAbsentReason="unknown"), {})


def test_serial_numbers_are_texts() -> None:
    """Before: readings of two devices could not be brought into an order."""
    found = list[Reading]()
    for serial in (5, "S"):
        device = {"resourceType": "Device", "id": "1", "serialNumber": serial}
        one = chunk(str(serial), device={"reference": "Device/1"})
        found += Series([Change(Kind.NEW, one["id"], one, {"Device/1": device})]).readings()
    assert [one.serial for one in found] == ["5", "5", "S", "S"]


@pytest.mark.parametrize("stamp", ["soon", 5, "0001-01-01T00:00:00Z", "2026-13-01", {}])
async def test_a_stamp_that_is_none_keeps_no_pull_from_going_on(stamp: Any, tmp_path: Path) -> None:
    """Before: an error of Python; a Watch never got past it."""
    odd, page = chunk("odd"), bundle(chunk("a"), meta={"lastUpdated": stamp})
    odd["meta"]["lastUpdated"] = stamp
    page["entry"].append({"resource": odd})
    recorder = await recorder_of(Foreign({"Observation?": page}), tmp_path)
    (step,) = [one async for one in recorder.steps(Cursor("2026-11-20T11:00:00Z", {"a": Known("1", "")}))]
    assert {one.id for one in step.changes} == {"a", "odd"}
    assert step.cursor.since == "2026-11-20T11:59:00.000Z"
