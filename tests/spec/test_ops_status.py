"""The status feed, black box: three forms, every field that HDDT requires, from checks and from notices (OPS)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import asyncpg
import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest

from ddr.fhir.instants import instant, parse_instant
from ddr.http.watch import CLEAR_MS, RAISE_MS, Watch
from ddr.operations.status import board
from ddr.operations.status.checks import CLOCK_MS
from ddr.operations.status.functions import HOLDUP
from ddr.operations.status.rounds import GAP_MS, Rounds
from ddr.settings import Settings
from ddr.store.outages import events, notices, reports, retractions
from tests.spec.conftest import received
from tests.spec.test_ops_maintenance import notice, tell
from tests.spec.world import DAY, HOUR, MINUTE, later
from tests.support.recorder import Recorder, recorder

ATOM = "{http://www.w3.org/2005/Atom}"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture
async def own(alone: Recorder) -> AsyncIterator[Recorder]:
    yield alone


async def feed(ddr: Recorder) -> dict[str, Any]:
    answer = await ddr.public.get("/status")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    schema = (await ddr.public.get(httpx.URL(found["schema"]).path)).json()
    jsonschema.validate(found, schema, format_checker=jsonschema.FormatChecker())
    return found


async def rounds(ddr: Recorder, seconds: int, those: Rounds) -> None:
    """A worker's rounds of this many seconds."""
    for _ in range(0, seconds, 5):
        await those.once(ddr.core)
        ddr.clock.advance(5)


def holdups(ddr: Recorder) -> dict[str, int]:
    """The Vendor-Holdup in ms, by the function that serves a kind of data."""
    return {f"data:{miv.name}": miv.vendor_holdup_seconds * 1000 for miv in ddr.core.catalog.mivs}


def of(found: dict[str, Any], function: str) -> str:
    """The state of a function."""
    return str(next(one["status"] for one in found["functions"] if one["function"] == function))


@pytest.mark.requirement("OPS-008")
@pytest.mark.parametrize("listener", ["public", "diga"])
async def test_three_forms_by_path_and_by_accept(own: Recorder, listener: str) -> None:
    http = own.public if listener == "public" else (await own.diga()).http
    base = own.settings.public_base_url if listener == "public" else own.settings.diga_base_url
    for path, accept, kind in (
        ("/status", "*/*", "application/json"),
        ("/status", "application/json", "application/json"),
        ("/status", BROWSER, "text/html"),
        ("/status", "application/atom+xml", "application/atom+xml"),
        ("/status", "text/html;q=0.2, application/atom+xml;q=0.9", "application/atom+xml"),
        ("/status.json", BROWSER, "application/json"),
        ("/status.html", "application/json", "text/html"),
        ("/status.atom", BROWSER, "application/atom+xml"),
        ("/status.schema.json", BROWSER, "application/schema+json"),
    ):
        answer = await http.get(base + path, headers={"accept": accept})
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, kind), (path, accept)
        if path == "/status":
            assert "accept" in answer.headers["vary"].lower()
    assert (await http.post(f"{base}/status")).status_code == 405


@pytest.mark.requirement("OPS-003", "OPS-007", "OPS-008", "OPS-029")
async def test_maintenance_is_told_before_while_and_after_it_goes_on(own: Recorder) -> None:
    start = own.clock() + DAY
    window = notice(start, start + HOUR, announced_ms=own.clock())
    await tell(own, window)
    before = await feed(own)
    assert (before["status"], before["events"]) == ("operational", [])
    (planned,) = before["planned"]
    assert (planned["start"], planned["end"]) == (instant(start), instant(start + HOUR))
    assert (planned["kind"], planned["cause"], planned["impact"]) == (
        "maintenance",
        "New release",
        "No data can be read",
    )
    assert (planned["contact"], planned["announced"]) == ("ops@example.com", instant(own.clock()))
    assert "data:lung-function-testing" in planned["functions"]
    assert f"{own.settings.fhir_base}/Observation" in planned["endpoints"]
    with later(own, DAY + MINUTE):
        found = await feed(own)
        assert (found["status"], found["planned"]) == ("unavailable", [])
        assert found["events"][0]["id"] == planned["id"], "the same event"
        assert (of(found, "token"), of(found, "ingestion")) == ("unavailable", "operational")
        (token,) = (one for one in found["functions"] if one["function"] == "token")
        assert [token[name] for name in ("start", "end", "cause")] == [planned["start"], planned["end"], "New release"]
        assert f"{own.settings.diga_base_url}/oauth/token" in token["endpoints"]
        assert found["next_update"] > found["updated"] == instant(own.clock())
        page = (await own.public.get("/status.html")).text
        assert "nicht verfügbar" in page and "Neue Version" in page and "ops@example.com" in page
        english = await own.public.get("/status.html?lang=en", headers={"accept-language": "de"})
        assert 'lang="en"' in english.text and "New release" in english.text
        assert "<script" not in page and "script-src" not in english.headers["content-security-policy"]
    with later(own, DAY + HOUR):
        found = await feed(own)
        assert (found["status"], found["events"]) == ("operational", [])
        assert [one["id"] for one in found["past"]] == [planned["id"]]


@pytest.mark.requirement("OPS-007", "OPS-008")
async def test_subscribers_get_one_entry_for_each_event(own: Recorder) -> None:
    start = own.clock() + DAY
    hostile = "<script>alert(1)</script> & more"
    await tell(own, notice(start, start + HOUR, cause=hostile), notice(start - 2 * DAY, start - DAY - HOUR))
    root = ElementTree.fromstring((await own.public.get("/status.atom")).content)
    entries = root.findall(f"{ATOM}entry")
    known = await feed(own)
    assert [one.findtext(f"{ATOM}id") for one in entries] == [
        one["id"] for one in (*known["events"], *known["planned"], *known["past"])
    ]
    assert hostile in (entries[0].findtext(f"{ATOM}title") or "")
    assert all(one.findtext(f"{ATOM}updated") for one in entries)
    assert hostile not in (await own.public.get("/status.html")).text, "escaped"


async def test_subscribers_can_read_whatever_words_are_stored(own: Recorder) -> None:
    start, words = own.clock() + DAY, "two\nlines \x1b[31mred\x1b[0m \ufffe Stö\xadrung"
    await tell(own, notice(start, start + HOUR, cause=words, impact=words))
    (entry,) = ElementTree.fromstring((await own.public.get("/status.atom")).content).findall(f"{ATOM}entry")
    content = (entry.findtext(f"{ATOM}content") or "").splitlines()
    assert (entry.findtext(f"{ATOM}title") or "").startswith("unavailable: two lines  [31mred")
    assert "Stö\xadrung" in (entry.findtext(f"{ATOM}title") or "")
    assert [line[:17] for line in content if "two" in line] == ["Cause: two lines ", "Impact: two lines"]
    assert (await feed(own))["planned"][0]["cause"] == words


@pytest.mark.requirement("OPS-007", "OPS-008")
async def test_what_is_cancelled_is_told_to_who_knows_of_it(own: Recorder) -> None:
    start = own.clock() + DAY
    window = notice(start, start + HOUR, announced_ms=own.clock() - DAY, changed_ms=own.clock() - DAY)
    await tell(own, window)
    (planned,) = (await feed(own))["planned"]
    page = (await own.public.get("/status.html")).text
    assert "nicht verfügbar, von " in page and "seit" not in page
    assert await notices.cancel(own.core.pool, window.notice, own.clock())
    found = await feed(own)
    (cancelled,) = found["cancelled"]
    assert (found["planned"], cancelled["id"], cancelled["cancelled"]) == ([], planned["id"], instant(own.clock()))
    root = ElementTree.fromstring((await own.public.get("/status.atom")).content)
    (entry,) = root.findall(f"{ATOM}entry")
    told = [entry.findtext(f"{ATOM}{name}") for name in ("id", "title", "updated")]
    assert told == [planned["id"], "cancelled: New release", instant(own.clock())]
    assert root.findtext(f"{ATOM}updated") == instant(own.clock())
    assert "Abgesagt" in (await own.public.get("/status.html")).text
    with later(own, 15 * DAY):
        assert (await feed(own))["cancelled"] == []


async def test_what_subscribers_have_is_never_newer_than_what_they_are_told(own: Recorder) -> None:
    """Readers ignore entries older than those they have (RFC 4287), so for them the feed would stand still."""
    pool, began = own.core.pool, own.clock()
    mistake, window = notice(began - HOUR, began - MINUTE, planned=False), notice(began + DAY, began + 2 * DAY)
    seen: list[str] = []

    async def look() -> str:
        root = ElementTree.fromstring((await own.public.get("/status.atom")).content)
        seen.append(root.findtext(f"{ATOM}updated") or "")
        return root.findtext(f"{ATOM}entry/{ATOM}updated") or ""

    await look()
    await tell(own, replace(window, announced_ms=began - HOUR, changed_ms=began - HOUR))
    announced = await look()
    own.clock.advance(60)
    await tell(own, replace(mistake, changed_ms=own.clock()))
    await look()
    assert await retractions.note(pool, retractions.Retraction(mistake.notice, True, "us", "why", own.clock()))
    await look()
    assert await notices.cancel(pool, window.notice, began - 2 * HOUR), "by the clock of another machine"
    assert await look() > announced, "the news is seen"
    own.clock.advance(DAY // 1000 * 15)
    await look()
    assert seen == sorted(seen)


@pytest.mark.requirement("OPS-007", "OPS-008")
async def test_a_disruption_whose_end_was_not_known_is_told_as_long_as_others(own: Recorder) -> None:
    now = own.clock()
    await tell(own, replace(notice(now - HOUR, now, planned=False, ended_ms=now), until_ms=None))
    assert len((await feed(own))["past"]) == 1
    with later(own, 31 * DAY):
        assert (await feed(own))["past"] == []
        assert await notices.recent(own.core.pool, own.clock() - notices.KEPT_MS) == []


@pytest.mark.requirement("OPS-007", "OPS-008")
async def test_a_trouble_is_told_when_it_lasts_and_kept_with_its_begin_and_end(own: Recorder) -> None:
    those = Rounds()
    await rounds(own, 5, those)
    began = own.clock()
    own.trust.is_stale = True
    await rounds(own, 5, those)
    assert (await feed(own))["status"] == "operational", "it may be over in a moment"
    await rounds(own, RAISE_MS // 1000, those)
    found = await feed(own)
    (event,) = found["events"]
    assert (event["status"], event["start"], event["end"]) == ("unavailable", instant(began), None)
    assert [of(found, name) for name in ("pairing", "token", "summary", "ingestion")] == [
        *("unavailable",) * 3,
        "operational",
    ]
    assert "diga-vz" in event["cause"]
    own.trust.is_stale = False
    last = own.clock() - 5000
    await rounds(own, 10, those)
    assert (await feed(own))["status"] == "unavailable", "not yet: it might flap"
    await rounds(own, CLEAR_MS // 1000, those)
    found = await feed(own)
    assert (found["status"], found["events"]) == ("operational", [])
    (past,) = found["past"]
    assert (past["start"], past["end"]) == (instant(began), instant(last)), "as long as it was"


async def test_what_was_taken_back_is_told_no_more(own: Recorder) -> None:
    now, pool = own.clock(), own.core.pool
    told = notice(now - 3 * HOUR, now - 2 * HOUR, planned=False)
    await tell(own, told, notice(now - 3 * HOUR, now - 2 * HOUR))
    await events.add(pool, events.Event("k", "unavailable", ["token"], "c", "c", now - HOUR, now - HOUR // 2))
    (event,) = await events.between(pool, now - HOUR, now)
    for undo, left in ((False, 1), (True, 3)):
        for name in (event.name, told.notice):
            assert await retractions.note(pool, retractions.Retraction(name, not undo, "us", "why", now))
        assert len((await feed(own))["past"]) == left


async def test_subscribers_learn_what_never_was_and_what_was_after_all(own: Recorder) -> None:
    """Before, the entry was left out, which readers do not notice, and came back with a time that they had already."""
    now, pool = own.clock(), own.core.pool
    told = notice(now - 3 * HOUR, now - 2 * HOUR, planned=False)
    await tell(own, told)
    for key, began in (("k", now - HOUR), ("old", now - 20 * DAY)):
        await events.add(pool, events.Event(key, "unavailable", ["token"], "c", "c", began, began + HOUR // 2))
    names = [one.name for one in await events.between(pool, now - 21 * DAY, now)] + [told.notice]

    async def entries() -> dict[str, tuple[str, str]]:
        root = ElementTree.fromstring((await own.public.get("/status.atom")).content)
        texts = [[one.findtext(f"{ATOM}{name}", "") for name in ("id", "title", "updated")] for one in root]
        return {name: (title.partition(":")[0], updated) for name, title, updated in texts if title}

    before = await entries()
    assert sorted(status for status, _ in before.values()) == ["unavailable"] * 2
    for undo in (False, True, False):
        for name in names:  # by the clock of another machine
            word = retractions.Retraction(name, not undo, "us", "why", now - DAY)
            assert await retractions.note(pool, word)
        found = await entries()
        assert [status for status, _ in found.values()] == ["unavailable" if undo else "retracted"] * 3
        assert all(found[name][1] > updated for name, (_, updated) in before.items()), "else readers ignore it"
        assert len((await feed(own))["past"]) == (3 if undo else 0)
        before = found
    with later(own, 15 * DAY):
        assert await entries() == {}


@pytest.mark.requirement("OPS-008")
async def test_what_flaps_is_one_event(own: Recorder) -> None:
    those = Rounds()
    own.trust.is_stale = True
    await rounds(own, 15, those)
    for _ in range(4):
        own.trust.is_stale = not own.trust.is_stale
        await rounds(own, 10, those)
    assert (await feed(own))["status"] == "unavailable"
    assert await own.core.pool.fetchval("SELECT count(*) FROM outage_event") == 1


@pytest.mark.requirement("OPS-008", "OPS-029")
async def test_what_another_host_finds_is_told_here_and_one_that_falls_silent_too(own: Recorder) -> None:
    pool = own.core.pool
    found = {"key": "signing-keys", "state": "unavailable", "functions": ["token"], "cause": "Tokens", "cause_de": "T"}
    await reports.write(pool, "other:8443", 2, own.clock(), [{**found, "since_ms": own.clock() - MINUTE}])
    (event,) = (await feed(own))["events"]
    assert (event["cause"], event["functions"], event["start"]) == ("Tokens", ["token"], instant(own.clock() - MINUTE))
    own.clock.advance(60)
    (event,) = (await feed(own))["events"]
    assert (event["status"], event["functions"]) == ("demoted", [])
    assert "other" not in str(event), "names of hosts are nobody's business"
    await reports.leave(pool, "other:8443", 2, own.clock())
    assert (await feed(own))["events"] == []


@pytest.mark.requirement("OPS-016")
async def test_data_that_cannot_be_taken_in_is_unavailable_when_its_holdup_has_passed(own: Recorder) -> None:
    started = own.clock()
    await tell(own, notice(started, started + DAY, functions=["ingestion"], planned=False, state="unavailable"))
    found = await feed(own)
    assert (of(found, "ingestion"), of(found, "data:continuous-glucose-measurement")) == ("unavailable", "operational")
    for miv in own.core.catalog.mivs:
        name = f"data:{miv.name}"
        with later(own, miv.vendor_holdup_seconds * 1000):
            assert of(await feed(own), name) == "operational"
        with later(own, miv.vendor_holdup_seconds * 1000 + 1000):
            found = await feed(own)
            assert of(found, name) == "unavailable"
            (event,) = [one for one in found["events"] if one["functions"] == [name]]
            assert event["start"] == instant(started + miv.vendor_holdup_seconds * 1000)


@pytest.mark.requirement("OPS-008", "OPS-016")
async def test_gateways_that_are_answered_by_failures_are_told(own: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    patient, those = await own.patient(), Rounds()

    async def broken(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr("ddr.gateway.app.Gatekeeper.patient", broken)
    for _ in range(6):
        assert (await patient.gateway.post("measurements", json={})).status_code == 503
    await rounds(own, 20, those)
    assert of(await feed(own), "ingestion") == "unavailable"
    began = next(one["start"] for one in (await feed(own))["events"] if "ingestion" in one["functions"])
    assert {of(await feed(own), name) for name in holdups(own)} == {"operational"}
    own.clock.advance(max(holdups(own).values()) // 1000)
    for _ in range(6):
        assert (await patient.gateway.post("measurements", json={})).status_code == 503
    await those.once(own.core)
    found = await feed(own)
    for name, holdup in holdups(own).items():
        (event,) = [one for one in found["events"] if one["functions"] == [name]]
        assert (event["status"], event["start"]) == ("unavailable", instant(parse_instant(began) + holdup))
    monkeypatch.undo()
    with later(own, 2 * MINUTE):
        await rounds(own, 40, those)
        assert of(await feed(own), "ingestion") == "operational"


@pytest.mark.requirement("OPS-008", "OPS-016")
@pytest.mark.parametrize("seconds", [50, 90])  # less and more than the Vendor-Holdup of single measurements
async def test_data_is_late_until_it_can_be_taken_in_again(
    own: Recorder, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """A failure is told for half a minute longer than it lasts, in which data is accepted."""
    those, began = Rounds(), own.clock()

    async def away() -> bool:
        return False

    monkeypatch.setattr(own.core.pool, "ready", away)
    await rounds(own, seconds, those)
    last = own.clock() - 5000
    monkeypatch.undo()
    expected = {name for name, holdup in holdups(own).items() if holdup < last - began}
    other = replace(own.core, watch=Watch())  # another worker, which knows it from the first one's report
    for _ in range(CLEAR_MS // 5000 - 1):
        await rounds(own, 5, those)
        for read in await board.shared(other), await board.read(own.core):
            assert {one.functions[0] for one in read.troubles if one.key.startswith(HOLDUP)} == expected
            assert "database" in {one.key for one in read.troubles}
    await rounds(own, 15, those)
    found = await feed(own)
    assert found["status"] == "operational"
    whole, late = (began, last), {(began + holdups(own)[name], last) for name in expected}
    assert {(parse_instant(one["start"]), parse_instant(one["end"])) for one in found["past"]} == {whole, *late}


@pytest.mark.requirement("OPS-008")
async def test_the_feed_is_readable_without_the_database(own: Recorder) -> None:
    start = own.clock() + HOUR
    await tell(own, notice(start, start + HOUR))
    await own.core.pool.close()
    found = await feed(own)
    assert {one["status"] for one in found["functions"]} == {"unavailable"}
    assert "database" in found["events"][0]["cause"] and found["events"][0]["start"]
    assert len(found["planned"]) == 1, "what is known stays known"
    for path in ("/status.html", "/status.atom"):
        assert (await own.public.get(path)).status_code == 200


async def test_what_never_was_is_not_told_without_the_database_either(own: Recorder) -> None:
    now = own.clock()
    told = notice(now - 3 * HOUR, now - 2 * HOUR, planned=False)
    await tell(own, told)
    assert await retractions.note(own.core.pool, retractions.Retraction(told.notice, True, "us", "why", now))
    assert (await feed(own))["past"] == []
    await own.core.pool.close()
    found = await feed(own)
    assert "database" in found["events"][0]["cause"] and found["past"] == []


@pytest.mark.requirement("OPS-001", "OPS-008")
@pytest.mark.parametrize("hung", [True, False])
async def test_time_in_which_no_worker_ran_is_an_outage(own: Recorder, hung: bool) -> None:
    """Whether the worker hung, or another one was started."""
    ran_ms = iter((0, 0, GAP_MS + 60_000))
    those = Rounds(lambda: next(ran_ms))
    await those.once(own.core)
    last = own.clock()
    own.clock.advance(GAP_MS // 1000 + 60)
    await (those if hung else Rounds()).once(own.core)
    (past,) = (await feed(own))["past"]
    assert (past["status"], past["start"], past["end"]) == ("unavailable", instant(last), instant(own.clock()))


async def test_a_worker_that_could_not_tell_ran_all_the_same(own: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database was away for minutes: another check reports that."""
    those = Rounds(own.clock)
    await those.once(own.core)

    async def away(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(reports, "write", away)
        for _ in range(2 * GAP_MS // 5000):
            own.clock.advance(5)
            with pytest.raises(OSError):
                await those.once(own.core)
    own.clock.advance(5)
    await those.once(own.core)
    assert (await feed(own))["past"] == []


@pytest.mark.requirement("OPS-001", "OPS-008")
async def test_a_clock_that_leaps_is_no_outage(own: Recorder) -> None:
    """Two workers report in turns that they are running, while the clock jumps ahead an hour and is set back."""
    workers = [Rounds(), Rounds()]
    for ahead in (0, 3600, 0, -3600, -3600, 7200):
        own.clock.advance(ahead)
        for those in workers:
            await those.once(own.core)
            assert (await feed(own))["past"] == []


async def test_what_a_worker_said_before_the_clock_was_set_back_counts_no_more(own: Recorder) -> None:
    trouble = {"key": "k", "state": "demoted", "functions": [], "cause": "c", "cause_de": "c"}
    await reports.write(own.core.pool, "elsewhere", 1, own.clock() + 3_600_000, [trouble])
    found = await feed(own)
    assert found["events"] == []
    await rounds(own, GAP_MS // 1000, Rounds())
    own.clock.advance(GAP_MS // 1000 + 60)
    await Rounds().once(own.core)
    assert [one["status"] for one in (await feed(own))["past"]] == ["unavailable"]


@pytest.mark.requirement("OPS-008")
async def test_a_certificate_that_expires_soon_is_announced(
    pool: asyncpg.Pool, settings: Settings, tmp_path: Path
) -> None:
    async with recorder(pool, settings, tmp_path / "old", received, {}) as running:
        left = (await running.public.get("/status")).json()["certificate_days_left"]
        assert left > 300
        those = Rounds()
        with later(running, (left - 13) * DAY):
            for _ in range(4):
                await those.look(running.core)
                running.clock.advance(5)
            events_told = (await running.public.get("/status")).json()["events"]
            assert [one["functions"] for one in events_told if "certificate of the server" in one["cause"]] == [[]]


@pytest.mark.parametrize("ahead_ms", [-CLOCK_MS - 1, CLOCK_MS + 1])
async def test_clocks_that_differ_are_told_without_an_outage(own: Recorder, ahead_ms: int) -> None:
    those, core = Rounds(), own.core
    for apart_ms, told in ((ahead_ms, ["demoted"]), (CLOCK_MS, [])):
        own.core = replace(core, host_ahead_ms=partial(int, apart_ms))
        await rounds(own, CLEAR_MS // 1000 + 5, those)
        found = await feed(own)
        assert [one["status"] for one in found["events"] if "clocks" in one["cause"]] == told
        assert {one["status"] for one in found["functions"]} == {"operational"}


async def test_an_event_that_is_over_is_stored_once(pool: asyncpg.Pool) -> None:
    await pool.execute("TRUNCATE outage_event")
    over = events.Event("k", "unavailable", ["token"], "c", "c", 1000, 2000)
    await asyncio.gather(*(events.add(pool, over) for _ in range(5)))
    assert await events.between(pool, 0, 10_000) == [over]


async def test_events_follow_what_is_found(pool: asyncpg.Pool) -> None:
    await pool.execute("TRUNCATE outage_event")
    known = events.Event("k", "demoted", ["token"], "c", "c", 1000)
    await events.follow(pool, {"k": known}, {}, 2000)
    await events.follow(pool, {"k": replace(known, from_ms=1500)}, {}, 2500)
    assert await events.between(pool, 0, 10_000) == [known], "its begin stays"
    await events.follow(pool, {"k": replace(known, state="unavailable")}, {}, 3000)
    await events.follow(pool, {}, {"k": 3500}, 9000)
    await events.follow(pool, {"k": replace(known, from_ms=9500)}, {"k": 3500}, 9600)
    await events.follow(pool, {}, {"k": 3500}, 9900)
    spans = [(one.state, one.from_ms, one.until_ms) for one in await events.between(pool, 0, 10_000)]
    assert spans == [("demoted", 1000, 3000), ("unavailable", 3000, 3500), ("demoted", 9500, 9900)]
    await pool.execute("TRUNCATE outage_event")
