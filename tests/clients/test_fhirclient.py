"""fhirclient, SMART's FHIR client for Python, against the recorder over mTLS; its models reject all that is not R4."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest
from fhirclient.client import FHIRClient
from fhirclient.models.capabilitystatement import CapabilityStatement
from fhirclient.models.device import Device
from fhirclient.models.devicemetric import DeviceMetric
from fhirclient.models.observation import Observation
from fhirclient.server import FHIRNotFoundException, FHIRServer

from tests.spec.world import Scene
from tests.support.recorder import Recorder

T = TypeVar("T")


@pytest.fixture
def server(ddr: Recorder, scene: Scene) -> FHIRServer:
    """A connection with the certificate and a token of the scene's DiGA."""
    own = scene.reader.diga.certificate
    found = FHIRClient(settings={"app_id": "diga", "api_base": ddr.settings.fhir_base}).server
    found.session.trust_env = False  # REQUESTS_CA_BUNDLE would win over the next line
    found.session.verify = str(ddr.authority.cert)
    found.session.cert = (str(own.cert), str(own.key))
    found.session.headers["Authorization"] = f"Bearer {scene.reader.tokens.access_token}"
    return found


async def blocking(call: Callable[[], T]) -> T:
    """Run a synchronous call while the recorder serves in this test's loop."""
    return await asyncio.to_thread(call)


async def test_it_reads_the_capabilities(server: FHIRServer) -> None:
    statement = await blocking(lambda: CapabilityStatement.read_from("metadata", server))
    assert statement.fhirVersion == "4.0.1"
    assert {resource.type for resource in statement.rest[0].resource} == {"Observation", "Device", "DeviceMetric"}


async def test_it_reads_all_pages(server: FHIRServer, scene: Scene) -> None:
    search = Observation.where({"_count": "3"})
    found = await blocking(lambda: list(search.perform_resources_iter(server)))
    assert {resource.id for resource in found} == set(await scene.reader.ids("Observation"))
    assert all(isinstance(resource, Observation) for resource in found)


async def test_it_reads_measurements_and_series(server: FHIRServer, scene: Scene) -> None:
    ids = scene.home.ids
    glucose = await blocking(lambda: Observation.read(ids["bg-new"], server))
    assert (glucose.valueQuantity.value, glucose.valueQuantity.code) == (143, "mg/dL")
    pressure = await blocking(lambda: Observation.read(ids["bp"], server))
    assert [part.valueQuantity.value for part in pressure.component] == [124, 82]
    chunks = await blocking(lambda: list(Observation.where({"code": "99504-3"}).perform_resources_iter(server)))
    assert chunks[0].valueSampledData.data.split(" ")[:3] == ["100", "101", "102"]
    assert chunks[0].effectivePeriod.start.date is not None


async def test_it_follows_references(server: FHIRServer, scene: Scene) -> None:
    metric = await blocking(lambda: DeviceMetric.read(scene.home.ids["metric"], server))
    device = await blocking(lambda: Device.read_from(metric.source.reference, server))
    assert (device.id, device.serialNumber) == (scene.home.ids["cgm"], "SN-cgm")


async def test_it_understands_refusals(server: FHIRServer) -> None:
    with pytest.raises(FHIRNotFoundException):
        await blocking(lambda: Device.read("nowhere", server))
