"""After a restore from a backup, a version that a DiGA has seen still has the same content; changes are newer."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ddr.fhir.instants import date_time
from ddr.fhir.versions import LARGEST, Restore, stored_versions, version_number
from ddr.http.core import Core
from ddr.patient_pages.download import measured_resources
from ddr.scopes.diga import Diga
from ddr.store.authorization import restore
from ddr.store.gateways import tokens
from ddr.store.patients.accounts import create_patient
from tests.diga_api.world import CGM, DAY, GLUCOSE, HOUR, MINUTE, Backend
from tests.gateway.conftest import make_client, put_device, put_sensor
from tests.gateway.samples import glucose
from tests.oauth.test_restore import recorder_on
from tests.support.clock import Clock
from tests.support.database import dumped, migrated_database, restored_database
from tests.support.trust import FakeTrust

SEARCHES = ("Observation", "DeviceMetric")  # a Device has one version only (DEV-012)
SENSOR = {
    "calibration": {"state": "calibrated", "type": "unspecified", "time": "2026-10-01T09:08:04+02:00"},
    "bufferingSeconds": 7200,
}


class Memory:
    """Everything that a DiGA was ever shown: the content of each version, and the newest timestamp."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, str, str], Any] = {}
        self.newest = ""

    def keep(self, found: dict[str, Any]) -> None:
        """Fail when this version had other content before."""
        meta = found.pop("meta")
        key = (found["resourceType"], found["id"], meta["versionId"])
        assert self.versions.setdefault(key, found) == found, f"{key} was shown with another content"
        self.newest = max(self.newest, meta["lastUpdated"])

    def known(self, kind: str) -> list[tuple[str, str]]:
        """Ids and versions of this kind."""
        return [key[1:] for key in self.versions if key[0] == kind]


class Scene:
    """A patient, the patient's gateway and a DiGA, at a recorder before or after a restore."""

    def __init__(self, core: Core, clock: Clock, diga: Backend, token: str) -> None:
        self.core, self.clock, self.diga = core, clock, diga
        self.gateway = make_client(core, token)

    def at(self, core: Core) -> Scene:
        """The same patient and DiGA at another recorder."""
        diga = replace(self.diga, core=core)
        return Scene(core, self.clock, diga, self.gateway.headers["authorization"].removeprefix("Bearer "))

    async def upload(self, sensor: str, value: int) -> None:
        """The readings of the last hour."""
        self.clock.advance(HOUR // 1000)
        times = [self.clock() - at * 5 * MINUTE for at in range(12)]
        readings = [{"time": date_time(time), "value": value} for time in times]
        sent = await self.gateway.post(
            f"/devices/cgm/sensors/{sensor}/readings", json={"unit": "mg/dL", "readings": readings}
        )
        assert sent.json()["accepted"] == 12

    async def change(self, value: int, unit: str) -> None:
        """A correction of a single value, and of a DeviceMetric."""
        self.clock.advance(1)
        when = "2026-11-20T12:00:00+02:00"
        assert (await self.gateway.put("/measurements/m1", json=glucose(value=value, effective=when))).is_success
        changed = await put_sensor(self.gateway, "cgm", "one", **SENSOR, displayUnit=unit)
        assert changed.is_success, changed.text

    async def copy(self) -> dict[tuple[str, str], str]:
        """The versions in the patient's own copy."""
        found = [one async for one in measured_resources(self.core, self.diga.patient_id)]
        return {
            (one["resourceType"], one["id"]): one["meta"]["versionId"]
            for one in found
            if one["resourceType"] in SEARCHES
        }

    async def look(self, memory: Memory) -> dict[tuple[str, str], str]:
        """What the DiGA sees now, added to `memory`: the version of each resource, by type and id."""
        seen = {}
        self.diga.token = self.diga.signed()
        for search in SEARCHES:
            await self.diga.rest()
            for entry in (await self.diga.bundle(f"{search}?_count=100")).get("entry", []):
                found = entry["resource"]
                if found["resourceType"] not in SEARCHES:
                    continue
                place = (found["resourceType"], found["id"])
                seen[place] = found["meta"]["versionId"]
                read = await self.diga.get("/".join(place))
                assert read.json() == found and read.headers["etag"] == f'W/"{seen[place]}"'
                memory.keep(found)
        for kind, name in list(seen):
            for logical_id, version in memory.known(kind):
                if logical_id == name:
                    former = await self.diga.get(f"{kind}/{name}/_history/{version}")
                    assert former.status_code in (200, 404)
                    if former.status_code == 200:
                        assert former.json()["meta"]["versionId"] == version
                        memory.keep(former.json())
        return seen


async def scene(core: Core, clock: Clock, trust: FakeTrust) -> Scene:
    """A recorder with a worn sensor of two kinds of values, a single value, and a DiGA that may see them."""
    patient_id = await create_patient(core.pool, secrets.token_hex(4), "correct horse battery", clock())
    token = await tokens.create(core.pool, patient_id, clock())
    valuesets = [miv.valueset for miv in core.catalog.mivs if miv.name in (CGM, GLUCOSE)]
    certificate, name = secrets.token_bytes(40), secrets.token_hex(4)
    diga = Diga(f"urn:diga:bfarm:{name}", name, "M", True, "https://d.example/cb", frozenset(), frozenset(valuesets))
    backend = await Backend(core, trust.add(diga, certificate), certificate, patient_id).pair(valuesets, days=90)
    made = Scene(core, clock, backend, token)
    started = date_time(clock() - HOUR)
    assert (await put_device(made.gateway, "meter")).status_code == 201
    assert (await put_device(made.gateway, "cgm", startedAt=started)).status_code == 201
    for sensor in ("one", "two"):
        answer = await put_sensor(made.gateway, "cgm", sensor, **SENSOR)
        assert answer.status_code == 201, answer.text
    return made


@pytest.mark.requirement("RS-036", "RS-040")
async def test_a_version_has_one_content_before_and_after_each_restore(
    core: Core, clock: Clock, trust: FakeTrust, database_url: str, tmp_path: Path
) -> None:
    """Whether data is sent again or never: chunks become final over time with what the backup had of them."""
    memory, dump = Memory(), tmp_path / "backup.dump"
    async with migrated_database(database_url) as url, recorder_on(url, core) as first:
        one = await scene(first, clock, trust)
        await one.change(100, "mg/dL")
        await one.upload("one", 100)
        await one.upload("two", 100)
        await one.change(101, "mmol/L")
        backed_up = await one.look(memory)
        await dumped(url, dump)
        for value in (110, 111, 112):
            await one.upload("one", value)
            await one.upload("two", value)
            await one.change(value, "mg/dL" if value % 2 else "mmol/L")
            await one.look(memory)
    for value in (200, 210):  # the second time from the same backup, which knows nothing of the first restore
        newest = memory.newest
        async with restored_database(database_url, dump) as url, recorder_on(url, core) as again:
            two = one.at(again)
            clock.advance(60)
            await restore.declare(again.pool, clock() + HOUR, clock())
            found = await two.look(memory)
            assert found == backed_up or value != 200, "what the backup has keeps its version, until time goes on"
            clock.advance(-7200)  # older than what was shown before the disaster
            await two.change(value, "mg/dL")
            await two.upload("one", value)
            await two.look(memory)
            await two.diga.rest()
            late = await two.diga.bundle(f"Observation?_lastUpdated=gt{newest}")
            assert {place[1] for place in found} & {one["resource"]["id"] for one in late["entry"]}
            await two.upload("one", value + 1)
            for _ in range(2):
                await two.look(memory)
                clock.advance(DAY // 1000)
            shown = await two.look(memory)
            assert (await two.copy()).items() <= shown.items()


async def test_other_versions_than_those_that_were_shown_are_unknown(
    core: Core, clock: Clock, trust: FakeTrust, database_url: str, tmp_path: Path
) -> None:
    memory = Memory()
    async with migrated_database(database_url) as url, recorder_on(url, core) as own:
        one = await scene(own, clock, trust)
        await one.change(100, "mg/dL")
        await one.look(memory)
        await restore.declare(own.pool, clock() + HOUR, clock())
        ((_, declared),) = await restore.restores(own.pool)
        await one.change(101, "mg/dL")
        await one.look(memory)
        ((name, before), (_, after)) = memory.known("Observation")
        assert (before, int(after)) == ("1", declared + 2)
        for version in ("2", str(declared + 1), str(declared + 3), "0", "-1", "x", "9" * 15, "9" * 40):
            assert (await one.diga.get(f"Observation/{name}/_history/{version}")).status_code == 404, version


def test_numbers_of_versions() -> None:
    restores = [Restore(10, 1_000), Restore(1_500, 2_000)]
    assert [version_number(3, at, restores) for at in (9, 10, 11, 1_500, 1_501)] == [3, 3, 1_003, 1_003, 2_003]
    assert version_number(3, 11, []) == 3
    assert stored_versions("2003", restores) == [2_003, 1_003, 3]
    assert stored_versions("3", restores) == [3]
    assert stored_versions("1000", restores) == [1_000], "no version is stored as 0"
    assert [stored_versions(str(LARGEST + more), []) for more in (0, 1)] == [[LARGEST], []]
    assert [stored_versions(text, restores) for text in ("", "٣", "-3", "1" * 16, "W/3")] == [[]] * 5
