"""Conditional reads: 304 for a client that has the current version, and never for one that does not."""

from __future__ import annotations

from dataclasses import replace
from email.utils import formatdate

import pytest

from ddr.diga_api.conditional import has_it, of_that_second
from tests.diga_api import world
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, DAY, GLUCOSE, HOUR, Body

SECOND = 1000
AT = 1_790_000_000_500


def http_date(ms: int) -> str:
    return formatdate(ms // SECOND, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({}, False),
        ({"if-none-match": 'W/"3"'}, True),
        ({"if-none-match": '"3"'}, True),
        ({"if-none-match": '"1", W/"3"'}, True),
        ({"if-none-match": "*"}, True),
        ({"if-none-match": 'W/"2"'}, False),
        ({"if-none-match": "3"}, False),
        ({"if-none-match": ""}, False),
        ({"if-none-match": 'W/"2"', "if-modified-since": http_date(AT + DAY)}, False),  # the tag decides
        ({"if-modified-since": http_date(AT + SECOND)}, True),
        ({"if-modified-since": http_date(AT)}, False),  # it may have changed again within that second
        ({"if-modified-since": http_date(AT - SECOND)}, False),
        ({"if-modified-since": "yesterday"}, False),
        ({"if-modified-since": "Thu, 99 Nov 2026 00:00:00 GMT"}, False),
        ({"if-modified-since": ""}, False),
    ],
)
def test_what_counts_as_known(headers: dict[str, str], known: bool) -> None:
    assert has_it(headers, 3, AT) is known


@pytest.mark.parametrize(
    ("headers", "same"),
    [
        ({"if-modified-since": http_date(AT)}, True),
        ({"if-modified-since": http_date(AT + SECOND)}, False),
        ({"if-modified-since": http_date(AT), "if-none-match": 'W/"2"'}, False),
        ({"if-modified-since": "yesterday"}, False),
        ({}, False),
    ],
)
def test_a_date_may_be_that_of_the_version(headers: dict[str, str], same: bool) -> None:
    assert of_that_second(headers, AT) is same


@pytest.mark.parametrize(("gap_ms", "status"), [(SECOND, 304), (1, 200)])
async def test_a_date_is_enough_unless_two_versions_are_of_its_second(
    body: Body, pair: Pair, gap_ms: int, status: int
) -> None:
    at_ms = body.core.clock()
    logical_id = await body.measurement(GLUCOSE, "2339-0", at_ms, device_no=await body.glucose_meter())
    diga, path = await pair(), f"Observation/{logical_id}"
    first = await diga.get(path)
    date = first.headers["last-modified"]
    assert (await diga.get(path, **{"if-modified-since": date})).status_code == 304
    later_ms = (at_ms // SECOND + 5) * SECOND + 500  # both versions came after it was visible
    await body.core.pool.execute(
        """INSERT INTO measurement_version
                  (patient_id, measurement_no, version, epoch_no, derived_from, content, status, updated_ms)
           SELECT patient_id, measurement_no, 1, epoch_no, derived_from, content, status, $2
             FROM measurement WHERE patient_id = $1""",
        body.patient_id,
        later_ms - gap_ms,
    )
    await body.core.pool.execute(
        "UPDATE measurement SET version = 2, updated_ms = $2 WHERE patient_id = $1", body.patient_id, later_ms
    )
    date = (await diga.get(path)).headers["last-modified"]
    answer = await diga.get(path, **{"if-modified-since": date})
    assert answer.status_code == status
    assert (await diga.get(path, **{"if-modified-since": first.headers["last-modified"]})).status_code == 200


async def test_what_is_known_is_not_sent_again(body: Body, pair: Pair) -> None:
    _, epoch_no, chunks = await body.cgm()
    await body.measurement(GLUCOSE, "2339-0", body.core.clock(), device_no=await body.glucose_meter())
    diga = await pair()
    bundle = await diga.bundle("Observation?_include=Observation:device&_include:iterate=DeviceMetric:source")
    for entry in bundle["entry"]:
        path = entry["fullUrl"].removeprefix(diga.core.settings.fhir_base + "/")
        first = await diga.get(path)
        tag = first.headers["etag"]
        again = await diga.get(path, **{"if-none-match": tag})
        if path.startswith("Device/"):  # its status changes over time, but it has one version only
            assert again.status_code == 200
            continue
        assert (again.status_code, again.content) == (304, b"")
        assert (await diga.get(path, **{"if-modified-since": first.headers["last-modified"]})).status_code == 304
        for name in ("etag", "last-modified"):
            assert again.headers[name] == first.headers[name]
        other = await diga.get(path, **{"if-none-match": 'W/"77"'})
        assert other.json() == first.json()
    path = f"Observation/{chunks[-1]}"
    tag = (await diga.get(path)).headers["etag"]
    await body.core.pool.execute(
        "DELETE FROM chunk WHERE patient_id = $1 AND epoch_no = $2 AND k = 2", body.patient_id, epoch_no
    )
    await body.chunk(
        epoch_no, 2, body.core.clock() - DAY + 6 * HOUR, [102] * 212, version=3, updated_ms=body.core.clock()
    )
    assert (await diga.get(path, **{"if-none-match": tag})).status_code == 200


async def test_a_known_version_is_of_no_use_without_consent(body: Body, pair: Pair) -> None:
    _, _, chunks = await body.cgm()
    diga = await pair(CGM)
    path = f"Observation/{chunks[0]}"
    tag = (await diga.get(path)).headers["etag"]
    entries = "SELECT count(*) FROM audit WHERE patient_id = $1 AND event = 'diga:data:read'"
    before = await body.core.pool.fetchval(entries, body.patient_id)
    assert (await diga.get(path, **{"if-none-match": tag})).status_code == 304
    assert await body.core.pool.fetchval(entries, body.patient_id) == before + 1
    await body.core.pool.execute("UPDATE pairing SET ended_ms = 1 WHERE patient_id = $1", body.patient_id)
    assert (await diga.get(path, **{"if-none-match": "*"})).status_code == 401


async def test_the_statement_has_a_tag_of_its_content(body: Body, pair: Pair) -> None:
    """FHIR R4 http.html#capabilities."""
    diga = await pair(CGM)
    first = await diga.get("metadata")
    tag = first.headers["etag"]
    assert (await diga.get("metadata?_format=xml")).headers["etag"] == tag
    again = await diga.get("metadata", **{"if-none-match": f'W/"1", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await diga.get("metadata", **{"if-none-match": 'W/"1"'})).json() == first.json()
    assert (await diga.get("metadata", **{"if-none-match": tag, "accept": "text/turtle"})).status_code == 406
    core = replace(body.core, settings=replace(body.core.settings, diga_base_url="https://other.example"))
    other = await world.fhir_client(core, None).get("/fhir/metadata", headers={"if-none-match": tag})
    assert (other.status_code, other.headers["etag"] == tag) == (200, False)


async def test_the_statement_says_so(body: Body, pair: Pair) -> None:
    diga = await pair(CGM)
    resources = (await diga.get("metadata")).json()["rest"][0]["resource"]
    assert {one["type"]: one["conditionalRead"] for one in resources} == {
        "Observation": "full-support",
        "DeviceMetric": "full-support",
        "Device": "not-supported",
    }
