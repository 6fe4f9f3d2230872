"""fhir.resources (R4B) reads everything that the recorder sends, in both forms, and finds the same in both."""

from __future__ import annotations

import pytest
from fhir.resources.R4B import get_fhir_model_class

from tests.spec.world import Scene, entries

SEARCHES = {
    "blood glucose": "Observation?code=2339-0,15074-8&_include=Observation:device",
    "blood pressure": "Observation?code=85354-9&_include=Observation:device",
    "lung function": "Observation?code=19935-6,20150-9,20149-1,20152-5&_include=Observation:device",
    "chunks": "Observation?code=99504-3&_include=Observation:device&_include:iterate=DeviceMetric:source",
    "devices": "Device",
    "metrics": "DeviceMetric",
}


async def both(scene: Scene, path: str) -> None:
    """Read JSON and XML of the same answer and compare what was understood."""
    same = {"x-request-id": "read-twice"}  # an OperationOutcome has the id of its request
    in_json = await scene.reader.get(path, **same)
    in_xml = await scene.reader.get(path, accept="application/fhir+xml", **same)
    assert in_json.status_code == in_xml.status_code
    model = get_fhir_model_class(in_json.json()["resourceType"])
    read = model.model_validate_json(in_json.content)
    assert read.model_dump() == model.model_validate_xml(in_xml.content).model_dump()


@pytest.mark.parametrize("name", ["Observation", "Device", "DeviceMetric"])
async def test_every_resource(scene: Scene, name: str) -> None:
    for resource in entries(await scene.reader.search(name)):
        await both(scene, f"{name}/{resource['id']}")


@pytest.mark.parametrize("name", SEARCHES)
async def test_every_search(scene: Scene, name: str) -> None:
    await both(scene, SEARCHES[name])


@pytest.mark.parametrize("path", ["metadata", "Device/nowhere", "Observation?subject=me"])
async def test_statement_and_refusals(scene: Scene, path: str) -> None:
    await both(scene, path)
