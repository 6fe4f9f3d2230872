"""A response joined from bytes equals the one rendered from objects (`_pretty`), in JSON and in XML."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from ddr.fhir.negotiation import Format
from ddr.fhir.representation import parse
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, DAY, GLUCOSE, PRESSURE, Body

INCLUDES = "_include=Observation:device&_include:iterate=DeviceMetric:source"
JSON, XML = (fmt.value for fmt in Format)


def comparable(resource: dict[str, Any]) -> dict[str, Any]:
    """The response without the parts that differ each time: links and the id of an outcome."""
    resource.pop("link", None)
    for entry in resource.get("entry", []):
        if entry["search"]["mode"] == "outcome":
            del entry["fullUrl"]
    return resource


@pytest.mark.parametrize("query", [INCLUDES, f"{INCLUDES}&code=1-1", "_count=2&_total=accurate", "date=lt1990-01-01"])
async def test_a_search_says_the_same_in_every_form(body: Body, pair: Pair, query: str) -> None:
    device_no, _, _ = await body.cgm()
    await body.core.pool.execute(
        "UPDATE sensor SET note = $2, method = $3 WHERE patient_id = $1 AND device_no = $4",
        body.patient_id, '50 % & "ü" <b>', {"text": "probe"}, device_no,
    )  # fmt: skip
    await body.epoch(await body.device(), await body.sensor(device_no, CGM, "105272-9"), body.core.clock() - DAY)
    await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=await body.glucose_meter())
    await body.pressure(body.core.clock(), 120, 80)
    diga = await pair(CGM, GLUCOSE, PRESSURE)
    found = []
    for accept, fmt in ((JSON, Format.JSON), (XML, Format.XML)):
        for pretty in ("true", "false"):
            await diga.rest()
            answer = await diga.get(f"Observation?{query}&_pretty={pretty}", accept=accept)
            assert answer.status_code == 200
            found.append(comparable(parse(answer.content, fmt)))
    assert all(one == found[0] for one in found[1:])


async def test_a_read_says_the_same_pretty_and_plain(body: Body, pair: Pair) -> None:
    await body.cgm()
    await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=await body.glucose_meter())
    diga = await pair(CGM, GLUCOSE)
    entries = (await diga.bundle(f"Observation?{INCLUDES}"))["entry"]
    assert {entry["resource"]["resourceType"] for entry in entries} == {"Observation", "DeviceMetric", "Device"}
    for entry in entries:
        path = entry["fullUrl"].removeprefix(diga.core.settings.fhir_base + "/")
        for accept, fmt in ((JSON, Format.JSON), (XML, Format.XML)):
            plain = await diga.get(path, accept=accept)
            pretty = await diga.get(f"{path}?_pretty=true", accept=accept)
            assert parse(plain.content, fmt) == parse(pretty.content, fmt)
            meta = parse(plain.content, fmt)["meta"]
            assert plain.headers["etag"] == pretty.headers["etag"] == f'W/"{meta["versionId"]}"'


async def test_nothing_is_built_for_a_client_that_has_it(body: Body, pair: Pair) -> None:
    _, _, chunks = await body.cgm()
    diga = await pair(CGM)
    tag = (await diga.get(f"Observation/{chunks[0]}")).headers["etag"]
    with patch("ddr.diga_api.resources.view", side_effect=ZeroDivisionError):
        answer = await diga.get(f"Observation/{chunks[0]}", **{"if-none-match": tag})
        assert (answer.status_code, answer.headers["etag"]) == (304, tag)
        assert (await diga.get(f"Observation/{chunks[0]}")).status_code == 500
