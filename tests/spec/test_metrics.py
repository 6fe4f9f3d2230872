"""Metrics count what happens, under names that only the recorder chooses."""

from __future__ import annotations

from functools import partial

import pytest

from tests.spec.world import BG, CGM, MINUTE, Home, entries, paired
from tests.support.metrics import grown, scraped
from tests.support.recorder import Recorder


@pytest.mark.requirement("OPS-009")
async def test_searches_are_counted_timed_and_split_into_phases(strict_ddr: Recorder) -> None:
    reader = await paired(strict_ddr, await strict_ddr.patient(), BG)
    before = await scraped(strict_ddr.admin)
    assert (await reader.get("Observation")).status_code == 200
    assert (await reader.get("Observation")).status_code == 429
    assert (await reader.get("Observation/nobodys-id")).status_code == 404
    count = partial(grown, before, await scraped(strict_ddr.admin))
    search = {"listener": "diga", "interaction": "Observation.search"}
    assert count("ddr_requests_total", **search, status="200") == 1
    assert count("ddr_requests_total", **search, status="429") == 1
    assert count("ddr_refusals_total", **search, reason="grace-period") == 1
    assert count("ddr_requests_total", interaction="Observation.read", status="404") == 1
    assert count("ddr_grace_decisions_total", decision="claimed") == 1
    assert count("ddr_grace_decisions_total", decision="refused") == 1
    phases = {name: count("ddr_request_seconds_sum", **search, phase=name) for name in ("all", "database", "work")}
    assert phases["all"] > phases["database"] > 0 and phases["work"] > 0
    assert count("ddr_request_seconds_count", **search, phase="all") == 2


async def test_uploads_are_counted_by_result_and_reason_with_their_delay(ddr: Recorder) -> None:
    home, now = Home(ddr, await ddr.patient()), ddr.clock()
    await home.device("cgm")
    await home.cgm("cgm", now - 600 * MINUTE)
    before = await scraped(ddr.admin)
    await home.readings("cgm", now - 120 * MINUTE, [100, 101])
    await home.readings("cgm", now - 120 * MINUTE, [100, 101])
    items = [{"time": "tomorrow", "value": 1}, {"time": home.ago(10 * MINUTE), "value": 123}]
    answer = await home.patient.gateway.post(
        "devices/cgm/sensors/s/readings", json={"unit": "mg/dL", "readings": items}
    )
    reason = answer.json()["items"][0]["reason"]
    await home.device("meter")
    await home.glucose("bg", now - 30 * MINUTE)
    await home.unfit(code="2339-0", unit="mg/dL", value="high", device="meter", effective=home.ago(MINUTE))
    count = partial(grown, before, await scraped(ddr.admin))
    assert count("ddr_upload_items_total", kind="readings", result="accepted") == 3
    assert count("ddr_upload_items_total", kind="readings", result="duplicate") == 2
    assert count("ddr_upload_items_total", kind="readings", result="rejected", reason=reason) == 1
    assert count("ddr_upload_items_total", kind="measurements", result="created") == 1
    assert count("ddr_refusals_total", listener="gateway", interaction="gateway.measurements") == 1
    assert count("ddr_ingestion_delay_seconds_count", miv=CGM) == 2
    assert 7_000 < count("ddr_ingestion_delay_seconds_sum", miv=CGM) < 8_000  # 115 and 10 minutes
    assert count("ddr_ingestion_delay_seconds_count", miv=BG) == 1


async def test_tokens_and_resources_are_counted(ddr: Recorder) -> None:
    home = await Home(ddr, await ddr.patient()).furnish()
    before = await scraped(ddr.admin)
    reader = await paired(ddr, home.patient, CGM)
    bundle = await reader.search("Observation?_include=Observation:device&_include:iterate=DeviceMetric:source")
    reader.tokens = await reader.diga.client.refresh(reader.tokens)
    refused = await reader.diga.http.post(
        f"{ddr.settings.diga_base_url}/oauth/token",
        data={"grant_type": "refresh_token", "refresh_token": "x", "client_id": reader.diga.entry.client_id},
    )
    assert refused.status_code == 400
    count = partial(grown, before, await scraped(ddr.admin))
    assert count("ddr_token_decisions_total", grant="authorization_code", decision="issued") == 1
    assert count("ddr_token_decisions_total", grant="refresh_token", decision="issued") == 1
    assert count("ddr_token_decisions_total", grant="refresh_token", decision="invalid_grant") == 1
    assert count("ddr_refusals_total", interaction="oauth.token", reason="invalid_grant") == 1
    assert count("ddr_resources_sent_total", type="chunk") == len(entries(bundle)) > 1
    assert count("ddr_resources_sent_total", type="metric") == 1
    assert count("ddr_resources_sent_total", type="device") == 1


async def test_the_host_tells_of_keys_certificate_and_trail(ddr: Recorder) -> None:
    found = await scraped(ddr.admin)
    assert found.sum("ddr_build_info") == 1
    assert found.sum("ddr_certificate_days") > 0
    assert found.sum("ddr_signing_keys") == 1
    assert {"ddr_signing_key_age_seconds", "ddr_audit_unsealed_seconds", "ddr_registry_ends_held"} <= found.names()


async def test_a_database_that_is_away_leaves_the_other_figures(ddr: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr("ddr.store.registries.losses.held", away)
    names = (await scraped(ddr.admin)).names()
    assert "ddr_audit_unsealed_seconds" not in names and "ddr_requests_total" in names
