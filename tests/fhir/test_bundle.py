"""Searchset and collection Bundles."""

from __future__ import annotations

from ddr.fhir.bundle import INCLUDE, MATCH, OUTCOME, collection, search_bundle
from ddr.fhir.device import device_resource
from ddr.fhir.observation_chunk import chunk_resource
from ddr.fhir.outcome import outside_historic_range
from tests.fhir.rows import IDS, SHOWN, code, device_row, sensor_row
from tests.fhir.validity import assert_valid

BASE = "https://localhost/fhir"


def test_a_searchset_has_its_links_its_total_and_a_mode_for_each_entry() -> None:
    chunk = chunk_resource(sensor_row(), SHOWN, IDS, code("99504-3"))
    device = device_resource(device_row(), IDS, "active")
    entries = [(MATCH, chunk), (INCLUDE, device), (OUTCOME, outside_historic_range())]
    bundle = search_bundle(BASE, entries, {"self": "https://localhost/a", "next": "https://localhost/b"}, total=1)
    assert_valid(bundle)
    assert (bundle["type"], bundle["total"]) == ("searchset", 1)
    assert [link["relation"] for link in bundle["link"]] == ["self", "next"]
    assert [entry["search"]["mode"] for entry in bundle["entry"]] == ["match", "include", "outcome"]
    *urls, outcome_url = [entry["fullUrl"] for entry in bundle["entry"]]
    assert urls == [f"{BASE}/Observation/chunk-11-2", f"{BASE}/Device/device-7"]
    assert outcome_url.startswith("urn:uuid:")


def test_empty_searchset_has_no_entry_and_no_total_unless_known() -> None:
    bundle = search_bundle(BASE, [], {"self": "https://localhost/a"})
    assert_valid(bundle)
    assert not {"entry", "total"} & set(bundle)
    assert search_bundle(BASE, [], {"self": "https://localhost/a"}, total=0)["total"] == 0


def test_a_collection_keeps_its_resources_as_they_are() -> None:
    device = device_resource(device_row(), IDS, "active")
    bundle = collection([(f"{BASE}/Device/device-7", device)], "2026-11-22T12:00:00.000Z")
    assert_valid(bundle)
    assert bundle["type"] == "collection"
    assert bundle["entry"] == [{"fullUrl": f"{BASE}/Device/device-7", "resource": device}]
