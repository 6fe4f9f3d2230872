"""Maintenance as data, black box: announced, in force on every worker, distinguished from other outages (OPS)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx
import pytest

from ddr.fhir.instants import date_time
from ddr.http.breadth import Breadth
from ddr.http.clock import now_ms
from ddr.settings import Settings
from ddr.store.outages import notices
from ddr.store.outages.notices import Notice
from tests.cli.recorder import START_SECONDS, settings_for
from tests.cli.recorder import Recorder as Served
from tests.cli.recorder import ddr as command
from tests.spec.world import BG, DAY, HOUR, MINUTE, later, paired, refused
from tests.support.recorder import Recorder

pytestmark = pytest.mark.slow

AHEAD = 14 * DAY
CAUSES = ("dependency-failed", "temporary-disruption", "planned-maintenance")
TOLD = ("--cause", "New release", "--impact", "No data", "--contact", "ops@example.com")


def notice(from_ms: int, until_ms: int, **members: object) -> Notice:
    known = Notice(
        notice=notices.new_name(),
        planned=True,
        state="unavailable",
        functions=["pairing", "token", "data", "summary"],
        from_ms=from_ms,
        until_ms=until_ms,
        cause="New release",
        cause_de="Neue Version",
        impact="No data can be read",
        impact_de="",
        contact="ops@example.com",
        urgent_reason=None,
        announced_ms=from_ms - 14 * DAY,
        changed_ms=from_ms - 14 * DAY,
    )
    return replace(known, **members)  # type: ignore[arg-type]


async def tell(ddr: Recorder, *told: Notice) -> None:
    for one in told:
        await notices.add(ddr.core.pool, one)
    await ddr.core.notices.read(ddr.core.pool, ddr.clock())


@pytest.fixture
async def own(alone: Recorder) -> AsyncIterator[Recorder]:
    alone.core.notices.known = ()
    yield alone


@pytest.mark.requirement("OPS-004", "OPS-005", "OPS-006", "OPS-027")
async def test_a_window_closes_each_function_in_its_own_form_until_its_end(own: Recorder) -> None:
    patient = await own.patient()
    reader = await paired(own, patient, BG)
    assert (await reader.get("Observation")).status_code == 200
    start = own.clock() + HOUR
    await tell(own, notice(start, start + 30 * MINUTE))
    assert (await reader.get("Device")).status_code == 200, "announced, not yet in force"
    with later(own, HOUR + 10 * MINUTE):
        reader.renewed_ms = own.clock()  # maintenance comes before the token
        for path in ("Observation", "Device", "Observation/$hddt-cgm-summary"):
            answer = await reader.get(path) if path != "Observation" else await reader.send("POST", f"{path}/_search")
            issue = refused(answer, 503, "transient")
            assert "No data can be read" in issue["diagnostics"]
            assert issue["details"]["coding"][0]["code"] == "planned-maintenance"
            assert answer.headers["retry-after"] == str(20 * 60), "the end of the window"
            assert (answer.headers["planned-maintenance"], answer.headers["outage-cause"]) == (
                "true",
                "planned-maintenance",
            )
        for path in ("par", "token", "revoke"):
            answer = await reader.diga.http.post(f"{own.settings.diga_base_url}/oauth/{path}", data={"x": "y"})
            assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
            assert (answer.json()["outage"], answer.headers["retry-after"]) == ("planned-maintenance", "1200")
        page = await own.public.get("/oauth/authorize", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["retry-after"]) == (503, "1200")
        assert "Wartungsarbeiten" in page.text
        assert (await own.public.get("/fhir/metadata")).status_code == 200
        assert (await patient.gateway.get("devices/none")).status_code == 404, "gateways are not closed"
    with later(own, HOUR + 30 * MINUTE):
        assert (await reader.get("Device")).status_code == 200, "it is over by itself"


@pytest.mark.requirement("OPS-004", "OPS-005")
async def test_single_functions(own: Recorder) -> None:
    patient = await own.patient()
    reader = await paired(own, patient, BG)
    now = own.clock()
    await tell(own, notice(now, now + HOUR, functions=["summary", "ingestion"]))
    assert (await reader.get("Device")).status_code == 200
    assert (await reader.get("Observation/$hddt-cgm-summary")).status_code == 503
    answer = await patient.gateway.post("measurements", json={})
    assert (answer.status_code, answer.json()["code"], answer.json()["retry"]) == (503, "planned-maintenance", True)
    assert answer.headers["retry-after"] == "3600"
    for document in ("openapi.json", "fhir/metadata"):
        assert (await httpx_get(patient.gateway, document)) == 200


async def httpx_get(client: httpx.AsyncClient, path: str) -> int:
    return (await client.get(path)).status_code


@pytest.mark.requirement("OPS-004", "OPS-006")
async def test_windows_that_follow_one_another_end_with_the_last(own: Recorder) -> None:
    reader = await paired(own, await own.patient(), BG)
    now = own.clock()
    await tell(
        own,
        notice(now - HOUR, now + 10 * MINUTE),
        notice(now + 10 * MINUTE, now + 20 * MINUTE),
        notice(now + 20 * MINUTE, now + 30 * MINUTE, cancelled_ms=now),
        notice(now + 25 * MINUTE, now + 40 * MINUTE),
        notice(now - HOUR, now + DAY, state="demoted"),
    )
    assert (await reader.get("Device")).headers["retry-after"] == "1200"


async def troubles(ddr: Recorder, ask: Callable[[], Awaitable[httpx.Response]]) -> list[httpx.Response]:
    """The same request three times: with a directory out of reach, a full queue, and maintenance."""
    ddr.trust.is_stale = True
    gone = await ask()
    ddr.trust.is_stale = False
    admission = ddr.core.admission
    breadth, admission.breadth = admission.breadth, Breadth(0)
    for line in admission._lines.values():
        line.seconds = 60
    busy = await ask()
    admission.breadth = breadth
    now = ddr.clock()
    await tell(ddr, notice(now, now + HOUR))
    return [gone, busy, await ask()]


def told_apart(answers: Sequence[httpx.Response]) -> list[str]:
    """The causes in the headers, each with the time to ask again; the last cause is maintenance."""
    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert [("planned-maintenance" in answer.headers) for answer in answers] == [False, False, True]
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
    return [answer.headers["outage-cause"] for answer in answers]


@pytest.mark.requirement("OPS-005", "OPS-027")
async def test_three_causes_are_told_apart(own: Recorder) -> None:
    reader = await paired(own, await own.patient(), BG)
    answers = await troubles(own, lambda: reader.get("Device"))
    issues = [
        refused(one, 503, code) for one, code in zip(answers, ("transient", "throttled", "transient"), strict=True)
    ]
    assert told_apart(answers) == [issue["details"]["coding"][0]["code"] for issue in issues] == list(CAUSES)
    statement = (await own.public.get("/fhir/metadata")).json()["rest"][0]["documentation"]
    assert all(cause in statement for cause in CAUSES)


@pytest.mark.requirement("OPS-005", "REG-013")
async def test_the_authorization_server_tells_the_causes_apart_too(own: Recorder) -> None:
    reader = await paired(own, await own.patient(), BG)
    form = {"client_id": reader.diga.entry.client_id, "grant_type": "refresh_token", "refresh_token": "x"}
    url = f"{own.settings.diga_base_url}/oauth/token"
    answers = await troubles(own, lambda: reader.diga.http.post(url, data=form))
    assert {one.json()["error"] for one in answers} == {"temporarily_unavailable"}
    assert told_apart(answers) == [one.json()["outage"] for one in answers] == list(CAUSES)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`ddr serve` with two workers."""
    folder: Path = tmp_path_factory.mktemp("served")
    running = Served(settings_for(folder, workers=2))
    yield running
    running.stop()


def maintenance(served: Served, *arguments: str) -> tuple[int, str]:
    done = command("maintenance", *arguments, settings=served.settings)
    return done.returncode, done.stdout + done.stderr


def answers(served: Served, want: int) -> bool:
    """Twelve new connections, to reach both workers, get this response within five seconds and for two more rounds."""
    begun, lasted = time.monotonic(), 0.0
    url = f"https://localhost:{served.settings['public_port']}/oauth/authorize"
    while time.monotonic() < begun + 5 + 2 * lasted:
        statuses = {httpx.get(url, verify=False, trust_env=False).status_code for _ in range(12)}
        if statuses == {want}:
            return True
        lasted = lasted or time.monotonic() - begun
    return False


@pytest.mark.requirement("OPS-003", "OPS-004")
def test_the_commands_reach_every_worker_within_seconds(served: Served) -> None:
    until = date_time(now_ms() // 1000 * 1000 + HOUR)
    assert answers(served, 400)
    status, text = maintenance(served, "start", "--until", until, *TOLD)
    assert (status, "--urgent" in text) == (1, True)
    status, text = maintenance(served, "start", "--until", until, *TOLD, "--urgent")
    assert (status, "--reason" in text) == (1, True)
    status, text = maintenance(served, "start", "--until", until, *TOLD, "--urgent", "--reason", "CVE-2026-1")
    assert status == 0, text
    name = text.split()[0]
    assert answers(served, 503)
    status, text = maintenance(served, "list")
    assert name in text and "ongoing" in text and "urgent: CVE-2026-1" in text
    assert maintenance(served, "end", name) == (0, f"{name} is over\n")
    assert answers(served, 400)
    assert maintenance(served, "end", name)[0] == 1


@pytest.mark.requirement("OPS-003")
def test_an_announcement_is_whole_and_in_time(served: Served) -> None:
    now = now_ms() // 1000 * 1000
    soon, far = date_time(now + 2 * DAY), date_time(now + AHEAD)
    until = date_time(now + AHEAD + HOUR)
    status, text = maintenance(served, "schedule", "--from", soon, "--until", date_time(now + 2 * DAY + HOUR), *TOLD)
    assert (status, "5 business days" in text, text.count("\n")) == (1, True, 1)
    for missing in ("--cause", "--impact", "--contact"):
        at = TOLD.index(missing)
        status, text = maintenance(served, "schedule", "--from", far, "--until", until, *TOLD[:at], *TOLD[at + 2 :])
        assert (status, missing in text) == (1, True)
    for backwards in (("--from", far, "--until", far), ("--from", "2020-01-01T00:00:00Z", "--until", until)):
        status, text = maintenance(served, "schedule", *backwards, *TOLD)
        assert (status, text.count("\n")) == (1, 1)
    status, text = maintenance(served, "schedule", "--from", far, "--until", until, *TOLD)
    assert status == 0 and "announced" in text
    name = text.split()[0]
    assert maintenance(served, "end", name)[0] == 1, "it has not begun"
    begin = ("start", name, "--urgent", "--reason", "cannot wait")
    for option in (("--demoted",), ("--functions", "token"), ("--impact", "other")):
        status, text = maintenance(served, *begin, *option)
        assert (status, text.count("\n")) == (1, 1) and f"begins as it was announced: {option[0]} can" in text
    status, text = maintenance(served, *begin)
    assert status == 0 and "ongoing" in text
    earlier = text.splitlines()[1].split()[0]
    assert maintenance(served, "cancel", name)[0] == 1, "it was cancelled for the earlier one"
    assert maintenance(served, "cancel", earlier)[0] == 1, "it goes on"
    assert maintenance(served, "end", earlier)[0] == 0
    assert maintenance(served, "cancel", "nosuch")[0] == 1
    status, _ = maintenance(served, "schedule", "--from", "tomorrow", "--until", until, *TOLD)
    assert status == 2


@pytest.mark.requirement("OPS-004")
async def test_what_is_known_stays_in_force_when_the_database_is_away(
    own: Recorder, pool: asyncpg.Pool, settings: Settings
) -> None:
    reader = await paired(own, await own.patient(), BG)
    now = own.clock()
    await tell(own, notice(now, now + HOUR))
    await own.core.pool.close()
    answer = await reader.get("Device")
    assert answer.headers["outage-cause"] == "planned-maintenance"


def told(served: Served, *arguments: str) -> tuple[int, str]:
    done = command("notice", *arguments, settings=served.settings)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.requirement("OPS-007")
def test_a_disruption_is_told_and_resolved_by_command(served: Served) -> None:
    report = ("report", "--state", "demoted", "--cause", "Late", "--functions")
    assert told(served, *report, "data:no-such")[0] == 1
    status, text = told(served, *report, "data:lung-function-testing", "ingestion")
    assert status == 0, text
    name = text.split()[0]
    url = f"https://localhost:{served.settings['public_port']}/status"
    known = httpx.get(url, verify=False, trust_env=False).json()["events"]
    (event,) = [one for one in known if one["cause"] == "Late"]
    assert (event["functions"], event["end"]) == (["data:lung-function-testing", "ingestion"], None)
    assert told(served, "resolve", name) == (0, f"{name} is over\n")
    found = httpx.get(url, verify=False, trust_env=False).json()
    assert "Late" not in {one["cause"] for one in found["events"]}
    assert "Late" in {one["cause"] for one in found["past"]}
    assert told(served, "resolve", name)[0] == 1
    assert maintenance(served, "end", "nosuch")[0] == 1


@pytest.mark.requirement("OPS-008")
def test_the_rounds_of_the_workers_go_on(served: Served) -> None:
    """The registries of this recorder never answered: its feed says so, and no round fails."""
    url = f"https://localhost:{served.settings['public_port']}/status"
    deadline = time.monotonic() + START_SECONDS
    while True:
        found = httpx.get(url, verify=False, trust_env=False).json()
        if {"status", "notices"} <= found["background"].keys() and found["status"] == "unavailable":
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    assert found["background"]["status"]["failures"] == found["background"]["notices"]["failures"] == 0
    states = {one["function"]: one["status"] for one in found["functions"]}
    assert (states["pairing"], states["ingestion"]) == ("unavailable", "operational")
