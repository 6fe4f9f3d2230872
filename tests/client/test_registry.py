"""From a device to its recorder: gematik's form of the entries, the stand-in for BfArM's registries, what is cached."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import urlencode

import pytest

from ddr.client import NotFound, Throttled, registry
from ddr.client.registry import BASE, DEVICE, DEVICE_LINK, ENDPOINT, RECORDER, Registry
from ddr.registries.hiis import resources
from tests.client.foreign import FHIR, ISSUER, Foreign, Json, bundle, resource
from tests.support.recorder import Recorder

CGM = "https://gematik.de/fhir/hddt/ValueSet/hddt-miv-continuous-glucose-measurement"


def definition(name: str, *devices: str) -> Json:
    """A recorder's entry, in gematik's units."""
    addresses = (f"Endpoint/{name}-fhir", f"Endpoint/{name}-auth")
    links = [{"url": registry.ENDPOINT_LINK, "valueReference": {"reference": one}} for one in addresses]
    times = {"gracePeriod": (15, "min"), "historicDataPeriod": (30, "d"), "delayFromRealTime": (60, "s")}
    miv: list[Json] = [{"url": part, "valueDuration": {"value": n, "unit": unit}} for part, (n, unit) in times.items()]
    miv.append({"url": "mivSet", "valueReference": {"reference": CGM}})
    related = [
        {
            "url": DEVICE_LINK,
            "extension": [
                {
                    "url": "relatedDevice",
                    "extension": [{"url": "reference", "valueReference": {"reference": f"DeviceDefinition/{one}"}}],
                }
            ],
        }
        for one in devices
    ]
    return {
        "resourceType": "DeviceDefinition",
        "id": name,
        "identifier": [{"system": registry.HIIS_ID, "value": f"DE-{name}"}],
        "manufacturerString": "Muster AG",
        "deviceName": [{"name": name}],
        "extension": [*links, *related, {"url": BASE + "HiisDeviceDefinitionMivSet", "extension": miv}],
    }


def endpoint(name: str, kind: str, address: str) -> Json:
    return {
        "resourceType": "Endpoint",
        "id": name,
        "status": "active",
        "connectionType": {"code": kind},
        "address": address,
    }


DEVICES: list[Json] = [
    {
        "resourceType": "DeviceDefinition",
        "id": "phd-1",
        "modelNumber": "GlucoView 2",
        "manufacturerString": "Muster AG",
        "identifier": [{"system": "http://fhir.de/sid/gkv/hmnr", "value": "30.29.05.2004"}],
    },
    {
        "resourceType": "DeviceDefinition",
        "id": "phd-2",
        "modelNumber": "Other",
        "manufacturerReference": {"reference": "Organization/x"},
        "parentDevice": {"reference": "DeviceDefinition/b"},
    },
]


@pytest.fixture
def foreign() -> Foreign:
    """A registry of two recorders."""
    ends: list[Json] = [
        *(endpoint(f"{name}-fhir", "hl7-fhir-rest", f"{FHIR}/{name}/") for name in "ab"),
        endpoint("a-auth", "oauth-authz-server", ISSUER),
        endpoint("b-auth", "oauth-authz-server", f"{ISSUER}/b/.well-known/openid-configuration"),
    ]

    def asked(kind: str, profile: str) -> str:
        return f"{kind}?{urlencode({'_profile': profile})}&"

    return Foreign(
        {
            "DeviceDefinition?p=2": bundle(definition("b")),
            asked("DeviceDefinition", RECORDER): bundle(definition("a", "phd-1"), following="DeviceDefinition?p=2"),
            asked("DeviceDefinition", DEVICE): bundle(*DEVICES),
            asked("Endpoint", ENDPOINT): bundle(*ends),
        }
    )


async def test_devices_lead_to_their_recorder(foreign: Foreign) -> None:
    found = Registry(foreign.http(), FHIR)
    assert [one.hiis_id for one in await found.recorders()] == ["DE-a", "DE-b"]
    for device in ("30.29.05.2004", "https://hiis.bfarm.de/api/fhir/v3.0/DeviceDefinition/phd-1"):
        entry = await found.find(device)
        assert (entry.fhir_base, entry.issuer) == (f"{FHIR}/a", ISSUER)
    terms = entry.mivs[CGM]
    assert (terms.grace, terms.history, terms.delay, entry.grace) == (900, 30 * 86_400, 60, 900)
    assert (await found.find(manufacturer="muster ag", model="glucoview 2")).hiis_id == "DE-a"
    assert (await found.find("phd-2")).issuer == f"{ISSUER}/b"
    for wanted in (
        {"device": "phd-9"},
        {"manufacturer": "Else", "model": "GlucoView 2"},
        {"manufacturer": "Muster AG"},
    ):
        with pytest.raises(NotFound):
            await found.find(**wanted)
    assert len(foreign.asked) == 4, "what is fresh is not asked for again"


@pytest.mark.parametrize(
    "odd",
    [
        {"deviceName": ["x"]},
        {"identifier": "x"},
        {"extension": [5]},
        {"extension": [{"url": registry.ENDPOINT_LINK, "valueReference": "x"}]},
        {"manufacturerReference": "x"},
        {"parentDevice": ["x"]},
    ],
)
async def test_an_odd_entry_is_its_own_problem(odd: Json, foreign: Foreign) -> None:
    """Before: an error of Python, and no recorder was found any more, of any device."""
    one = {"resourceType": "DeviceDefinition", "id": "odd", **odd}
    for start, page in foreign.pages.items():
        if isinstance(page, dict) and start.startswith("DeviceDefinition?_profile"):
            page["entry"].insert(0, {"resource": one})
    found = Registry(foreign.http(), FHIR)
    assert [one.hiis_id for one in await found.recorders()] == ["DE-a", "DE-b"]
    assert (await found.find("phd-2")).issuer == f"{ISSUER}/b"


async def test_what_is_too_old_is_not_used(foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(registry, "time", SimpleNamespace(monotonic=lambda: now))
    found = Registry(foreign.http(), FHIR)
    assert len(await found.recorders()) == 2
    foreign.pages = {"": lambda _: resource({"resourceType": "OperationOutcome"}, 503)}
    now += 3.9 * 3600
    assert len(await found.recorders()) == 2
    now += 0.2 * 3600
    with pytest.raises(Throttled):
        await found.recorders()


async def test_what_this_recorder_registers_can_be_read(ddr: Recorder) -> None:
    definition, *endpoints = resources(ddr.settings, ddr.core.catalog)
    entry = registry.entry_of(definition, {one["id"]: one for one in endpoints})
    assert (entry.fhir_base, entry.issuer) == (ddr.settings.fhir_base, ddr.settings.public_base_url)
    assert entry.mivs.keys() == {miv.valueset for miv in ddr.core.catalog.mivs}
    for valueset, terms in entry.mivs.items():
        own = ddr.core.catalog.terms[valueset]
        assert (terms.grace, terms.delay) == (own.grace_seconds, own.delay_seconds)
        assert terms.history == own.historic_days * 86_400
