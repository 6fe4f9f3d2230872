"""Reading BfArM's profiles: what is accepted, what disables one DiGA, and what is passed over."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from ddr.demo import certs
from ddr.demo.registry_fhir import catalog_entry, health_app, manufacturer
from ddr.demo.registry_state import ListedDiga
from ddr.registries.health_app import Entry, read_entries
from tests.registries.conftest import BLOOD_GLUCOSE


def read_one(diga: ListedDiga, app: dict[str, Any] | None = None) -> Entry:
    entries, unreadable = read_entries([app or health_app(diga)], [catalog_entry(diga)], [manufacturer(diga)])
    assert unreadable == []
    return entries[0]


def trust(app: dict[str, Any]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = app["extension"][0]["extension"]
    return parts


def test_entry_has_everything_that_the_recorder_needs(diga: ListedDiga, der: dict[str, bytes]) -> None:
    assert read_one(diga) == Entry(
        client_id="urn:diga:bfarm:00001",
        name="Eins",
        manufacturer="Eins GmbH",
        redirect_uri="https://eins.example/cb",
        valuesets=frozenset({BLOOD_GLUCOSE}),
        certificates=(der["a"],),
    )


@pytest.mark.parametrize("pem", [False, True])
def test_certificates_may_be_der_or_pem_and_several(diga: ListedDiga, der: dict[str, bytes], pem: bool) -> None:
    diga.pem, diga.certificates = pem, [der["a"], der["c"], der["a"]]
    assert read_one(diga).certificates == (der["a"], der["c"])


@pytest.mark.parametrize(("status", "listed"), [("active", True), ("draft", True), ("retired", False)])
def test_provisionally_listed_counts_as_listed(diga: ListedDiga, status: Any, listed: bool) -> None:
    diga.status = status
    assert read_one(diga).listed is listed


def test_without_catalogue_entry_a_diga_is_disabled_but_not_unlisted(diga: ListedDiga) -> None:
    (entry,), _ = read_entries([health_app(diga)], [])
    assert (entry.usable, entry.listed, entry.problems) == (False, True, ("no catalogue entry",))


def test_unknown_parts_order_and_value_types_do_not_matter(diga: ListedDiga, der: dict[str, bytes]) -> None:
    app = health_app(diga)
    app["extension"].reverse()
    parts = app["extension"][-1]["extension"]
    parts.reverse()
    parts.insert(0, {"url": "future", "valueBoolean": True})
    parts[1] = {"url": "redirectUri", "valueUrl": diga.redirect_uri}
    app["extension"].insert(0, {"url": "https://fhir.bfarm.de/StructureDefinition/HealthAppHandbook"})
    app["surprise"] = {"a": [1]}
    assert read_one(diga, app) == read_one(diga)


def test_apps_without_trust_attributes_are_no_clients(diga: ListedDiga) -> None:
    app = {**health_app(diga), "extension": []}
    assert read_entries([app], [catalog_entry(diga)]) == ([], [])


@pytest.mark.parametrize("part", ["clientCertificates", "redirectUri"])
def test_a_missing_part_disables_the_diga(diga: ListedDiga, part: str) -> None:
    app = health_app(diga)
    app["extension"][0]["extension"] = [item for item in trust(app) if item["url"] != part]
    assert not read_one(diga, app).usable


@pytest.mark.parametrize("client_id", ["00001", "urn:diga:bfarm:1", "urn:diga:bfarm:00001x", "urn:diga:bfarm:00002"])
def test_the_client_id_must_be_well_formed_and_the_own_one(diga: ListedDiga, client_id: str) -> None:
    diga.client_id = client_id
    assert not read_one(diga).usable


@pytest.mark.parametrize("redirect_uri", ["/cb", "//host/cb", "https://h.example/cb#fragment", "http://[broken"])
def test_the_redirect_uri_must_be_absolute(diga: ListedDiga, redirect_uri: str) -> None:
    diga.redirect_uri = redirect_uri
    assert not read_one(diga).usable


@pytest.mark.parametrize("broken", ["no base64!", base64.b64encode(b"no certificate").decode(), ""])
def test_a_broken_certificate_spoils_neither_the_others_nor_the_diga(
    diga: ListedDiga, der: dict[str, bytes], broken: str
) -> None:
    app = health_app(diga)
    trust(app).append({"url": "clientCertificates", "valueBase64Binary": broken or "AAAA"})
    entry = read_one(diga, app)
    assert entry.usable and entry.certificates == (der["a"],) and len(entry.problems) == 1


def test_a_server_certificate_authenticates_no_client(diga: ListedDiga, folder: Path, authority: certs.Pair) -> None:
    diga.certificates = [certs.server_certificate(folder, authority).der]
    assert not read_one(diga).usable


def test_what_cannot_be_read_is_told(diga: ListedDiga) -> None:
    app = health_app(diga)
    app["extension"][0]["extension"] = [{"url": "clientId", "valueUri": 7}, {"url": "redirectUri"}, "nonsense"]
    malformed: list[dict[str, Any]] = [app, {}, {"extension": "x", "identifier": 3, "deviceName": None}]
    entries, unreadable = read_entries(malformed, [{"referencedItem": []}, {"status": 1}])
    assert entries == []
    assert unreadable == ["DiGA 00001: trust attributes without client id", "an entry holds no resource"]
