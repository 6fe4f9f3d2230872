"""fhirpy, an independent asynchronous FHIR client, against the recorder over mTLS."""

from __future__ import annotations

import pytest
from fhirpy import AsyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound

from ddr.demo.tls import client_context
from tests.spec.world import CGM, MINUTE, Scene
from tests.support.recorder import Recorder


@pytest.fixture
def client(ddr: Recorder, scene: Scene) -> AsyncFHIRClient:
    """A client with the certificate and a token of the scene's DiGA."""
    reader = scene.reader
    return AsyncFHIRClient(
        ddr.settings.fhir_base,
        authorization=f"Bearer {reader.tokens.access_token}",
        extra_headers={"accept": "application/fhir+json"},
        aiohttp_config={"ssl": client_context(ddr.authority.cert, reader.diga.certificate)},
    )


async def test_it_fetches_all_pages(client: AsyncFHIRClient, scene: Scene) -> None:
    found = await client.resources("Observation").limit(3).fetch_all()
    assert {resource.id for resource in found} == set(await scene.reader.ids("Observation"))


async def test_it_searches_by_code_value_and_date(client: AsyncFHIRClient, scene: Scene) -> None:
    observations = client.resources("Observation")
    assert [found.id for found in await observations.search(code="20150-9").fetch()] == [scene.home.ids["fev1"]]
    high = observations.search(**{"code": "2339-0", "value-quantity": "gt100|http://unitsofmeasure.org|mg/dL"})
    assert [found.id for found in await high.fetch()] == [scene.home.ids["bg-new"]]
    recent = observations.search(date__ge=scene.home.ago(200 * MINUTE), code="2339-0")
    assert [found.id for found in await recent.fetch()] == [scene.home.ids["bg-new"]]


async def test_it_includes_and_follows_references(client: AsyncFHIRClient, scene: Scene) -> None:
    search = client.resources("Observation").search(code="99504-3").include("Observation", "device")
    bundle = await search.include("DeviceMetric", "source", iterate=True).fetch_raw()
    types = [entry.resource.resourceType for entry in bundle.entry]
    assert (types.count("DeviceMetric"), types.count("Device")) == (1, 1)
    metric = await client.reference(reference=bundle.entry[0].resource.device.reference).to_resource()
    device = await client.reference(reference=metric.source.reference).to_resource()
    assert device.id == scene.home.ids["cgm"]
    assert device.deviceName[0].name == "GlucoSense rt"


async def test_it_calls_the_summary(client: AsyncFHIRClient) -> None:
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "related", "valueBoolean": True}]}
    summary = await client.execute("Observation/$hddt-cgm-summary", data=parameters)
    assert (summary.resourceType, summary.type) == ("Bundle", "collection")
    assert "Device" in {entry.resource.resourceType for entry in summary.entry}


async def test_it_asks_for_parts_and_counts(client: AsyncFHIRClient, scene: Scene) -> None:
    every = await scene.reader.ids("Observation")
    found = await client.resources("Observation").elements("id", "status").limit(3).fetch_all()
    assert sorted(resource.id for resource in found) == sorted(every)
    assert not any("device" in resource for resource in found)
    counted = await client.resources("Observation").search(_summary="count").fetch_raw()
    assert (counted.total, counted.get("entry")) == (len(every), None)


async def test_it_understands_refusals(client: AsyncFHIRClient) -> None:
    with pytest.raises(ResourceNotFound):
        await client.reference("Device", "nowhere").to_resource()
    with pytest.raises(OperationOutcome) as refusal:
        await client.resources("Observation").search(patient=CGM).fetch()
    assert refusal.value.resource["issue"][0]["severity"] == "error"
