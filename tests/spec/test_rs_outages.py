"""Both 503 rows of the table of resource server errors, black box: planned maintenance and overload (RS, OPS)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from ddr.settings import Settings
from tests.spec.conftest import received
from tests.spec.world import BG, paired, refused
from tests.support.recorder import Recorder, recorder

NOTICE = "Planned maintenance until 2026-11-22T14:00:00Z"
CROWD = 30


@pytest.fixture
async def closed(pool: asyncpg.Pool, settings: Settings, tmp_path: Path) -> AsyncIterator[Recorder]:
    """A recorder during planned maintenance."""
    told = replace(settings, maintenance=NOTICE, maintenance_retry_seconds=1200)
    async with recorder(pool, told, tmp_path / "closed", received, {}) as running:
        yield running


@pytest.fixture
async def narrow(
    pool: asyncpg.Pool, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Recorder]:
    """A recorder that accepts few simultaneous requests and lets none wait."""
    monkeypatch.setattr("ddr.http.admission.PATIENCE", 0.0)
    async with recorder(pool, replace(settings, database_pool_size=2), tmp_path / "narrow", received, {}) as running:
        yield running


@pytest.mark.requirement("RS-020", "RS-053", "OPS-004", "OPS-006", "OPS-015", "OPS-027")
@pytest.mark.parametrize("path", ["Observation", "Device/x", "DeviceMetric", "Observation/$hddt-cgm-summary"])
async def test_planned_maintenance(closed: Recorder, path: str) -> None:
    diga = await closed.diga()
    response = await diga.http.get(path, headers={"authorization": "Bearer x"})
    issue = refused(response, 503, "transient", NOTICE)
    assert issue["details"]["coding"][0]["code"] == "planned-maintenance"
    assert (response.headers["planned-maintenance"], response.headers["retry-after"]) == ("true", "1200")
    assert (await diga.http.get("metadata")).status_code == 200


@pytest.mark.requirement("OPS-004")
async def test_maintenance_of_the_authorization_server_and_the_status_feed(closed: Recorder) -> None:
    diga = await closed.diga()
    form = {"client_id": diga.entry.client_id, "grant_type": "refresh_token", "refresh_token": "x"}
    response = await diga.http.post(f"{closed.settings.diga_base_url}/oauth/token", data=form)
    assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
    assert response.headers["retry-after"] == "1200"
    feed = (await closed.public.get("/status")).json()
    assert feed["status"] == "unavailable"
    assert NOTICE in {event["cause"] for event in feed["events"]}


@pytest.mark.requirement("RS-020", "RS-053", "OPS-015")
async def test_overload(narrow: Recorder) -> None:
    """Requests that cannot be answered soon are refused at once; afterwards everything works again."""
    reader = await paired(narrow, await narrow.patient(), BG)
    answers = await asyncio.gather(*(reader.get("Device") for _ in range(CROWD)))
    turned_away = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(turned_away) < CROWD
    for answer in turned_away:
        refused(answer, 503, "throttled", "Service temporarily unavailable due to rate limiting")
        assert int(answer.headers["retry-after"]) > 0
    assert (await reader.get("Device")).status_code == 200
