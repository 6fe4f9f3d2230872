"""Observation search over the wire: what is found, in which order, with what is included."""

from __future__ import annotations

from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, Body, ids, types

BOTH = "_include=Observation:device&_include:iterate=DeviceMetric:source"


async def test_chunks_come_with_their_sensor_and_device(body: Body, pair: Pair) -> None:
    device_no, epoch_no, chunks = await body.cgm()
    diga = await pair(CGM)
    bundle = await diga.bundle(f"Observation?_sort=date&{BOTH}")
    assert ids(bundle) == chunks
    assert bundle["total"] == 3
    assert types(bundle, "include") == ["DeviceMetric", "Device"]
    assert ids(bundle, "include") == [body.core.ids.metric(epoch_no), body.core.ids.device(device_no)]
    statuses = [entry["resource"]["status"] for entry in bundle["entry"][:3]]
    assert statuses == ["final", "final", "preliminary"]
