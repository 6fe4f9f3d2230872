"""The own entry in the HIIS-VZ: built, read in other forms, compared; certificates that are suitable for it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from ddr.demo import certs
from ddr.demo.registry_state import RegistryState
from ddr.miv.loader import load_catalog
from ddr.miv.model import MivCatalog
from ddr.registries.certificates import expires_ms
from ddr.registries.hiis import HIIS_ID, differences, read_registration, registration, resources
from ddr.registries.hiis_checks import _document, certificate_problems
from ddr.registries.hiis_vz import SOURCE, HiisVz
from ddr.settings import Settings
from ddr.store.registries import sources as store
from tests.support.clock import Clock

Resources = list[dict[str, Any]]


@pytest.fixture
def catalog(settings: Settings) -> MivCatalog:
    return load_catalog(settings.miv_packages, {})


@pytest.fixture
def own(registry_settings: Settings) -> Settings:
    return replace(registry_settings, hiis_id="00374", manufacturer="Muster AG")


@pytest.fixture
def hiis(own: Settings, empty_store: asyncpg.Pool, clock: Clock, catalog: MivCatalog) -> HiisVz:
    return HiisVz(own, empty_store, clock, lambda: catalog)


async def notes(hiis: HiisVz, clock: Clock) -> list[str]:
    clock.advance(900)
    return list((await hiis.step()).notes)


async def test_what_is_built_is_what_is_compared(
    hiis: HiisVz, state: RegistryState, own: Settings, catalog: MivCatalog, clock: Clock
) -> None:
    state.hiis = resources(own, catalog)
    assert await notes(hiis, clock) == []
    assert not hiis.stale(clock())


async def test_a_missing_entry_is_told(hiis: HiisVz, clock: Clock, pool: asyncpg.Pool) -> None:
    assert await notes(hiis, clock) == ["has no recorder 00374"]
    assert await notes(hiis, clock) == ["has no recorder 00374"]
    happened = await store.events(pool, 0, clock() + 1, "note")
    assert [(row["source"], row["kind"]) for row in happened] == [(SOURCE, "note")], "told once, not at each reading"


async def test_the_entry_of_somebody_else_is_not_ours(
    hiis: HiisVz,
    state: RegistryState,
    own: Settings,
    catalog: MivCatalog,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A registry that passes over `identifier`, as a FHIR server may with parameters that it does not know."""
    monkeypatch.setattr("ddr.demo.registry._identifiers", lambda _: [f"{HIIS_ID}|{own.hiis_id}"])
    state.hiis = resources(replace(own, hiis_id="00001"), catalog)
    assert await notes(hiis, clock) == ["has no recorder 00374"]
    mine = [{**one, "id": f"own-{one['id']}"} for one in resources(own, catalog)]
    mine[0] = deepcopy(mine[0])
    for link in mine[0]["extension"]:
        if "valueReference" in link:
            link["valueReference"]["reference"] = link["valueReference"]["reference"].replace("/", "/own-")
    state.hiis += mine
    assert await notes(hiis, clock) == [], "beside that of another"


def terms(found: Resources, part: str) -> dict[str, Any]:
    """A time of the first MIV."""
    first = next(one for one in found[0]["extension"] if one["url"].endswith("MivSet"))
    duration: dict[str, Any] = next(one["valueDuration"] for one in first["extension"] if one["url"] == part)
    return duration


def shorter_grace(found: Resources) -> None:
    terms(found, "gracePeriod")["value"] = 60


def no_unit(found: Resources) -> None:
    terms(found, "delayFromRealTime").update(unit="fortnight", code=None)


def other_address(found: Resources) -> None:
    found[1]["address"] = "https://old.example/fhir"


def no_endpoint(found: Resources) -> None:
    found.pop()


def no_miv(found: Resources) -> None:
    found[0]["extension"] = [one for one in found[0]["extension"] if not one["url"].endswith("MivSet")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shorter_grace, "grace_seconds 900 here, 60 registered"),
        (no_unit, "registered without usable times"),
        (other_address, "https://old.example/fhir"),
        (no_endpoint, "nothing registered"),
        (no_miv, "offered here, but not registered"),
    ],
)
def test_each_difference_is_told(
    own: Settings, catalog: MivCatalog, change: Callable[[Resources], None], words: str
) -> None:
    found = deepcopy(resources(own, catalog))
    change(found)
    lines = differences(registration(own, catalog), read_registration(found[0], found[1:]))
    assert lines and any(words in line for line in lines)


def test_other_forms_of_the_same_are_no_difference(own: Settings, catalog: MivCatalog) -> None:
    found = deepcopy(resources(own, catalog))
    terms(found, "gracePeriod").update(value=15, unit="min", code=None)
    terms(found, "historicDataPeriod").update(value=720, unit="h", code="h")
    found[2]["address"] += "/.well-known/openid-configuration"
    found[1]["connectionType"]["system"] = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
    for link in found[0]["extension"]:
        if "valueReference" in link:
            link["valueReference"]["reference"] += "/_history/3"
    found[0]["extension"].reverse()
    found[0]["surprise"] = 1
    assert differences(registration(own, catalog), read_registration(found[0], found[1:])) == []


@pytest.mark.parametrize("broken", [{}, {"extension": [{"url": 1}, "x"]}, {"extension": {"url": "x"}}])
def test_nonsense_is_read_as_nothing(own: Settings, catalog: MivCatalog, broken: dict[str, Any]) -> None:
    read = read_registration(broken, [{}, {"connectionType": 7}])
    assert read.endpoints == {} and read.mivs == {}
    assert len(differences(registration(own, catalog), read)) == 6


def test_a_fit_certificate_has_no_problems(folder: Path, authority: certs.Pair, clock: Clock) -> None:
    server = certs.server_certificate(folder, authority)
    now_ms = expires_ms(server.der) - 100 * 86_400_000
    assert certificate_problems(server.cert, {"localhost"}, now_ms) == []


@pytest.mark.requirement("TLS-004")
def test_each_problem_of_a_certificate_is_told(folder: Path, authority: certs.Pair) -> None:
    server = certs.server_certificate(folder, authority)
    end_ms = expires_ms(server.der)
    assert "other.example is not among" in certificate_problems(server.cert, {"other.example"}, end_ms - 1)[0]
    assert "in less than 30 days" in certificate_problems(server.cert, {"localhost"}, end_ms - 1)[0]
    assert "only" in certificate_problems(server.cert, {"localhost"}, end_ms + 1)[0]
    own = certs.client_certificate(folder, "self-signed")
    assert any("self-signed" in one for one in certificate_problems(own.cert, {"x"}, end_ms - 1))
    missing = folder / "none.pem"
    told = f"certificate {missing}: cannot be read: No such file or directory"
    assert certificate_problems(missing, {"x"}, 0) == [told]


async def test_an_answer_that_is_no_http_is_not_quoted() -> None:
    def broken(_: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("illegal status line: bytearray(b'of somebody else')")

    found: list[str] = []
    async with httpx.AsyncClient(transport=httpx.MockTransport(broken)) as http:
        assert await _document(http, "https://recorder.example/status", found) is None
    assert found == ["https://recorder.example/status: cannot be read: illegal status line"]


async def test_a_document_nested_without_end_cannot_be_read() -> None:
    found: list[str] = []
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=b"[" * 1_000_000))
    async with httpx.AsyncClient(transport=transport) as http:
        assert await _document(http, "https://recorder.example/status", found) is None
    assert ["cannot be read" in problem for problem in found] == [True]
