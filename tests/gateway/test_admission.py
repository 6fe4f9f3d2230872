"""Repeated requests, wrong clocks, overload, and what the recorder lacks."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.fhir.instants import date_time
from ddr.gateway.gaps import gaps
from ddr.http.admission import Admission
from ddr.http.core import Core
from tests.gateway.conftest import CGM, Client, make_client, put_device, put_sensor
from tests.support.clock import Clock

READINGS = "/devices/cgm/sensors/glucose/readings"
PERIOD = 300_000


def body(clock: Clock, value: int = 100, periods_ago: int = 0) -> dict[str, Any]:
    """An upload of one reading."""
    return {"unit": "mg/dL", "readings": [{"time": date_time(clock() - periods_ago * PERIOD), "value": value}]}


async def test_a_repeated_request_gets_its_answer_again(cgm: Client, clock: Clock) -> None:
    key = {"idempotency-key": "upload-1"}
    first, again = [await cgm.post(READINGS, json=body(clock), headers=key) for _ in range(2)]
    assert first.json()["accepted"] == 1
    assert again.content == first.content
    assert (await cgm.post(READINGS, json=body(clock))).json()["duplicate"] == 1
    clock.advance(2 * 86_400)
    assert (await cgm.post(READINGS, json=body(clock, 70), headers=key)).json()["accepted"] == 1


async def test_a_key_belongs_to_one_request_and_one_patient(cgm: Client, stranger: Client, clock: Clock) -> None:
    key = {"idempotency-key": "k"}
    await cgm.post(READINGS, json=body(clock), headers=key)
    other = await cgm.post(READINGS, json=body(clock, 5), headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "repeated-key")
    assert (await stranger.post(READINGS, json=body(clock), headers=key)).status_code == 404
    malformed = await cgm.post(READINGS, json=body(clock), headers={"idempotency-key": "no key"})
    assert (malformed.status_code, malformed.json()["code"]) == (422, "invalid-key")


async def test_a_failed_request_may_be_sent_again_with_its_key(client: Client, clock: Clock) -> None:
    key = {"idempotency-key": "k"}
    assert (await client.post(READINGS, json=body(clock), headers=key)).status_code == 404
    await put_device(client, "cgm", **CGM)
    await put_sensor(client, "cgm", "glucose")
    assert (await client.post(READINGS, json=body(clock), headers=key)).json()["accepted"] == 1


@pytest.mark.parametrize(
    ("sent", "skew"),
    [
        ({"sent-at": "2026-11-22T10:01:30Z"}, "90"),
        ({"date": "Sun, 22 Nov 2026 09:59:00 GMT"}, "-60"),
        ({"date": "yesterday"}, None),
        ({}, None),
    ],
)
async def test_a_gateway_is_told_how_far_its_clock_is_off(cgm: Client, sent: dict[str, str], skew: str | None) -> None:
    assert (await cgm.get("/devices", headers=sent)).headers.get("clock-skew") == skew


async def test_a_date_without_a_zone_is_in_utc_wherever_the_recorder_stands(
    cgm: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9110 section 5.6.7: the asctime format. A gateway adjusts its times by the response."""
    try:
        with monkeypatch.context() as machine:
            machine.setenv("TZ", "Europe/Berlin")
            time.tzset()
            told = await cgm.get("/devices", headers={"date": "Sun Nov 22 09:59:00 2026"})
    finally:
        time.tzset()
    assert told.headers.get("clock-skew") == "-60"


async def test_too_many_requests_at_once_are_told_when_to_come_again(core: Core, token: str) -> None:
    busy = replace(core, admission=Admission(2))
    with patch("ddr.http.admission.PATIENCE", 0.0):
        async with make_client(busy, token) as client:
            answers = await asyncio.gather(*(client.get("/devices") for _ in range(20)))
            statuses = {answer.status_code for answer in answers}
            assert statuses == {200, 503}
            assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)
            assert (await client.get("/devices")).status_code == 200


async def test_what_the_recorder_lacks(cgm: Client, clock: Clock) -> None:
    path = "/devices/cgm/sensors/glucose/gaps"
    whole = {"from": "2026-11-22T09:00:00Z", "until": "2026-11-22T10:00:00Z"}
    assert (await cgm.get(path)).json() == {"from": whole["from"], "gaps": [whole]}
    for ago in (11, 10, 4, 3):
        await cgm.post(READINGS, json=body(clock, periods_ago=ago))
    found = (await cgm.get(path)).json()["gaps"]
    assert [(gap["from"][11:16], gap["until"][11:16]) for gap in found] == [
        ("09:00", "09:05"),
        ("09:10", "09:40"),
        ("09:45", "10:00"),
    ]


async def test_what_lacks_among_many_readings_is_found_beside_the_event_loop(
    cgm: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_loop: list[bool] = []

    def watched(*given: Any) -> list[tuple[int, int]]:
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        return gaps(*given)

    monkeypatch.setattr("ddr.gateway.gaps.gaps", watched)
    monkeypatch.setattr("ddr.gateway.gaps.LARGE_ITEMS", 1)
    for ago in (4, 3):
        await cgm.post(READINGS, json=body(clock, periods_ago=ago))
        await cgm.get("/devices/cgm/sensors/glucose/gaps")
    assert on_the_loop == [True, False]


@given(st.sets(st.integers(0, 50)))
def test_gaps_are_where_no_reading_is(slots: set[int]) -> None:
    found = gaps([slot * PERIOD for slot in slots], 0, 51 * PERIOD, PERIOD)
    lacking = {slot for slot in range(51) for first, last in found if first <= slot * PERIOD < last}
    assert lacking - slots == set(range(51)) - slots
