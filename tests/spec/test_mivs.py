"""Rules for every MIV with its own numbers: scopes, Vendor-Holdup and history (HDDT mivs.md)."""

from __future__ import annotations

import time

import pytest

from ddr.demo.diga_client import DigaRefused
from tests.spec.series import values
from tests.spec.world import BG, BP, CGM, LF, MINUTE, Home, entries, paired
from tests.support.recorder import Recorder

CANONICAL = "https://gematik.de/fhir/hddt/ValueSet/hddt-miv-"


def each(*ids: str) -> pytest.MarkDecorator:
    """One case per MIV, each the evidence for one requirement."""
    mivs = (BG, CGM, LF, BP)
    return pytest.mark.parametrize(
        "miv", [pytest.param(miv, marks=pytest.mark.requirement(name)) for miv, name in zip(mivs, ids, strict=True)]
    )


async def observed(home: Home, miv: str, at_ms: int) -> None:
    """A device that measured this MIV at `at_ms`."""
    if miv == CGM:
        await home.device("cgm")
        await home.cgm("cgm", at_ms)
        await home.readings("cgm", at_ms, [101, 102, 103])
    elif miv == BG:
        await home.device("meter")
        await home.glucose("value", at_ms)
    elif miv == BP:
        await home.device("cuff")
        await home.pressure("value", at_ms)
    else:
        await home.device("spirometer")
        await home.lung(at_ms)


@each("BG-001", "CGM-001", "LF-001", "BP-001")
async def test_the_scopes_of_a_miv(ddr: Recorder, miv: str) -> None:
    scope = f"patient/Observation.rs?code:in={CANONICAL}{miv}"
    diga, patient = await ddr.diga(miv), await ddr.patient()
    supported = (await diga.client.metadata())["scopes_supported"]
    assert [each for each in supported if miv in each] == [scope]
    tokens = await ddr.pair(diga, patient, miv)
    assert sorted(tokens.scopes) == sorted([scope, "patient/Device.rs", "patient/DeviceMetric.rs"])
    for other in (
        f"{scope}|1.0.1",
        f"{scope}&_count=1",
        scope.replace(".rs", ".cruds"),
        scope.replace("patient/", "user/"),
        "patient/Observation.rs",
    ):
        with pytest.raises(DigaRefused) as refusal:
            await diga.client.push_request((other, "patient/Device.rs", "patient/DeviceMetric.rs"))
        assert (refusal.value.status, refusal.value.response.json()["error"]) == (400, "invalid_scope")


@each("BG-012", "CGM-011", "LF-021", "BP-018")
async def test_data_is_served_as_soon_as_it_was_taken(ddr: Recorder, miv: str) -> None:
    # The recorder's clock stands still, so no search waits for anything.
    home = Home(ddr, await ddr.patient())
    reader = await paired(ddr, home.patient, miv)
    before = await reader.search("Observation")
    assert entries(before) == []
    sent = time.monotonic()
    await observed(home, miv, ddr.clock() - 15 * MINUTE)
    found = entries(await reader.search("Observation"))
    assert time.monotonic() - sent < 60
    assert entries(await reader.search(f"Observation?_lastUpdated=gt{before['meta']['lastUpdated']}")) == found
    assert [values(one) for one in found] == [["101", "102", "103"]] if miv == CGM else found
