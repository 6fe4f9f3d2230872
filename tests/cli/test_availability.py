"""`ddr availability`: the report says how it was computed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from pathlib import Path

import asyncpg
import pytest

from ddr.cli.main import main
from ddr.fhir.instants import date_time, parse_date_time
from ddr.store.outages import events
from ddr.store.outages.events import Event

DAY_MS = 86_400_000


async def command(*arguments: str) -> int:
    return await asyncio.get_running_loop().run_in_executor(None, main, arguments)


async def run(*arguments: str) -> int:
    return await command("availability", *arguments)


@pytest.fixture
def own(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings for commands on the database of this file's tests."""
    monkeypatch.setenv("DDR_DATABASE_URL", database_url)
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
    monkeypatch.setenv("DDR_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("DDR_AUDIT_DAYS", "36500")  # months of the past, whatever the date is


@pytest.mark.requirement("OPS-001")
async def test_the_report(pool: asyncpg.Pool, own: None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    await pool.execute("TRUNCATE outage_event, outage_notice")
    await pool.execute("UPDATE schema_migration SET applied_ms = 1767225600000")  # 2026-01-01
    assert await run("--month", "2025-11") == 1, "of a year that was mistyped"
    assert capsys.readouterr() == (
        "",
        "ddr: nothing is known about 2025-11: this database was created 2026-01-01T00:00:00Z\n",
    )
    assert await run("--month", "2026-09") == 0
    assert "100.0000%" in capsys.readouterr().out
    from_ms = parse_date_time("2026-09-10T10:00:00Z")[0]
    await events.add(pool, Event("database", "unavailable", ["token"], "Away", "Weg", from_ms, from_ms + 3 * 3_600_000))
    probe = tmp_path / "probe.csv"
    probe.write_text("time,status\n2026-09-10T12:55:00Z,0\n2026-09-10T13:05:00Z,200\n")
    assert await run("--month", "2026-09", "--probe", str(probe)) == 0, "3 h 5 min of 720 h"
    out = capsys.readouterr().out
    assert re.search(r"check database, event-\d+: Away", out) and re.search(r"probe: no answer", out)
    assert re.search(r"time +720:00:00 h", out) and re.search(r"down +3:05:00 h", out)
    assert f"{1 - 185 / 43200:.4%}" in out and "goal reached" in out
    await events.add(
        pool, Event("x", "unavailable", ["data:y"], "B", "B", from_ms + 9_000_000_0, from_ms + 9_360_000_0)
    )
    assert await run("--month", "2026-09") == 1
    assert "goal missed" in capsys.readouterr().out
    for wrong in (("--month", "2099-01"), ("--month", "2026-09", "--probe", "/nowhere.csv")):
        assert await run(*wrong) == 1
        assert capsys.readouterr().err.count("\n") == 1
    await pool.execute("TRUNCATE outage_event")


async def test_of_the_month_in_which_the_database_was_made_counts_what_came_after(
    pool: asyncpg.Pool, own: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Days before there was a recorder are none on which it was available."""
    await pool.execute("TRUNCATE outage_event, outage_notice")
    await pool.execute("UPDATE schema_migration SET applied_ms = $1", parse_date_time("2026-09-25T22:00:00Z")[0])
    from_ms = parse_date_time("2026-09-28T10:00:00Z")[0]
    await events.add(pool, Event("database", "unavailable", ["token"], "Away", "Weg", from_ms, from_ms + 3_600_000))
    assert await run("--month", "2026-09") == 1, "an hour of five days, and not of thirty"
    out = capsys.readouterr().out
    assert "counted from 2026-09-25T22:00:00Z, when this database was created, until 2026-09-30T22:00:00Z\n" in out
    assert re.search(r"time +120:00:00 h", out) and f"{1 - 1 / 120:.4%}" in out
    report = ["notice", "report", "--state", "demoted", "--functions", "token", "--cause", "Slow"]
    for month in ("2026-08", "2026-09"):
        assert await command(*report, "--from", f"{month}-10T00:00:00Z", "--until", f"{month}-11T00:00:00Z") == 0
    capsys.readouterr()
    assert await run("--month", "2026-09") == 1
    assert re.search(r"time +120:00:00 h", capsys.readouterr().out), "what counts for nothing is no time that counts"
    assert await run("--month", "2026-08") == 1 and "nothing is known about 2026-08" in capsys.readouterr().err
    probe = tmp_path / "probe.csv"  # of the time before: then something is known of it
    for status in (0, 200):
        probe.write_text(f"time,status\n2026-09-10T12:55:00Z,{status}\n2026-09-10T12:56:00Z,200\n")
        assert await run("--month", "2026-09", "--probe", str(probe)) == 0
        assert re.search(r"time +720:00:00 h", capsys.readouterr().out)
    await pool.execute("TRUNCATE outage_event, outage_notice")


async def test_a_month_of_which_evidence_is_deleted_has_no_figure(
    pool: asyncpg.Pool, own: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.execute("TRUNCATE outage_event, outage_notice")
    await pool.execute("UPDATE schema_migration SET applied_ms = 1609459200000")  # 2021-01-01
    assert await run("--month", "2022-09") == 0, "nothing is deleted for a hundred years"
    monkeypatch.setenv("DDR_AUDIT_DAYS", "730")
    capsys.readouterr()
    assert await run("--month", "2022-09") == 1
    out, err = capsys.readouterr()
    assert not out
    assert re.fullmatch(r"ddr: 2022-09 is too long ago: findings of the checks from before 20\S+Z are deleted\n", err)


async def test_a_log_may_be_a_file_or_a_pipe(
    pool: asyncpg.Pool, own: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    await pool.execute("TRUNCATE outage_event, outage_notice")
    await pool.execute("UPDATE schema_migration SET applied_ms = 1767225600000")  # 2026-01-01
    call = '{"timestamp": "2026-09-10T10:00:%02d.000Z", "partner_id": "h/oauth/token", "status": %d}\n'
    log, pipe = tmp_path / "calls.jsonl", tmp_path / "pipe"
    log.write_text("".join(call % (second, 503 if second < 6 else 200) for second in range(9)))
    os.mkfifo(pipe)
    told = []
    threading.Thread(target=pipe.write_text, args=(log.read_text(),), daemon=True).start()  # waits for who reads
    for file in (log, pipe):
        assert await run("--month", "2026-09", "--log", str(file)) == 0
        told.append(capsys.readouterr().out)
    assert "10:00:00Z to 2026-09-10T10:00:06Z  down     log: 6 calls of token" in told[0]
    assert re.sub("until .*", "", told[0]) == re.sub("until .*", "", told[1]).replace(str(pipe), str(log))
    log.write_text("no record")
    assert await run("--month", "2026-09", "--log", str(log)) == 1
    assert capsys.readouterr().err == f"ddr: {log}: line 1: is not a record of the request log\n"


@pytest.mark.parametrize(
    ("filters", "lacking"),
    [
        (None, "does not end with a manifest, as a complete export does: calls may be missing"),
        ({"since_ms": None, "until_ms": None, "client": None}, ""),
        ({"since_ms": 0, "until_ms": 1_900_000_000_000}, ""),
        (
            {"status": 200, "client": "urn:diga:bfarm:00101"},
            "has only calls of status 200, client urn:diga:bfarm:00101",
        ),
        (
            {"since_ms": 1_789_000_000_000, "until_ms": 1_789_000_900_000},
            "has only calls from 2026-09-10T00:26:40Z until 2026-09-10T00:41:40Z",
        ),
        ({"until_ms": 1_789_000_000_000}, "has only calls from 2026-08-31T22:00:00Z until 2026-09-10T00:26:40Z"),
    ],
)
async def test_what_a_log_cannot_tell_is_said(
    pool: asyncpg.Pool,
    own: None,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    filters: dict[str, object] | None,
    lacking: str,
) -> None:
    """Calls that failed and are not in it would count as available without a word."""
    await pool.execute("UPDATE schema_migration SET applied_ms = 1767225600000")  # 2026-01-01
    log = tmp_path / "calls.jsonl"
    call = '{"timestamp": "2026-09-10T10:00:00.000Z", "partner_id": "h/oauth/token", "status": 200}\n'
    log.write_text(call if filters is None else call + json.dumps({"manifest": {"filters": filters}}) + "\n")
    assert await run("--month", "2026-09", "--log", str(log)) == 0
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith(str(log))]
    assert found == ([f"{log} {lacking}"] if lacking else [])


WORDS = ("--by", "Operations", "--reason", "Change 4711: the clock was set")


async def test_what_never_was_is_taken_back_with_who_and_why(
    pool: asyncpg.Pool, own: None, capsys: pytest.CaptureFixture[str]
) -> None:
    await pool.execute("TRUNCATE outage_event, outage_notice")
    from_ms = parse_date_time("2026-08-10T10:00:00Z")[0]
    stopped = Event(
        "recorder-stopped", "unavailable", ["token"], "Did not run", "Lief nicht", from_ms, from_ms + DAY_MS
    )
    await events.add(pool, stopped)
    assert await run("--month", "2026-08") == 1
    found = re.search(r"down .*recorder-stopped, (event-\d+): Did not run", capsys.readouterr().out)
    assert found
    before = await pool.fetch("SELECT * FROM outage_event")
    assert await command("notice", "retract", found[1], *WORDS) == 0
    assert await command("notice", "retract", found[1].replace("-", "-0"), *WORDS) == 1, "the same, and no news"
    assert await run("--month", "2026-08") == 0
    out = capsys.readouterr().out
    assert re.search(rf"nothing +check recorder-stopped, {found[1]}: .*retracted by Operations, .*Change 4711", out)
    assert "100.0000%" in out
    assert await pool.fetch("SELECT * FROM outage_event") == before
    assert await command("notice", "retract", found[1], "--undo", "--by", "Quality", "--reason", "It was") == 0
    assert await command("notice", "retract", found[1], "--undo", "--by", "Quality", "--reason", "It was") == 1
    assert await run("--month", "2026-08") == 1
    said = await pool.fetch(
        "SELECT retracted, retracted_by FROM outage_retraction WHERE name = $1 ORDER BY retraction", found[1]
    )
    assert [tuple(row) for row in said] == [(True, "Operations"), (False, "Quality")]
    for words in ("DELETE FROM outage_retraction", "UPDATE outage_retraction SET reason = ''"):
        with pytest.raises(asyncpg.PostgresError):
            await pool.execute(words)
    await pool.execute("TRUNCATE outage_event")


async def test_only_disruptions_and_events_that_are_over_are_taken_back(
    pool: asyncpg.Pool, own: None, capsys: pytest.CaptureFixture[str]
) -> None:
    await pool.execute("TRUNCATE outage_event, outage_notice")
    report = ("notice", "report", "--state", "unavailable", "--functions", "token", "--cause", "By mistake")
    assert await command(*report) == 0
    name = capsys.readouterr().out.split()[0]
    assert await command("notice", "retract", name, *WORDS) == 1
    assert "ddr notice resolve" in capsys.readouterr().err
    assert await command("notice", "resolve", name) == 0
    assert await command("notice", "retract", name, *WORDS) == 0
    now_ms = await pool.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    window = ("--until", date_time(now_ms + DAY_MS), "--urgent", "--reason", "z", "--cause", "x", "--impact", "y")
    capsys.readouterr()
    assert await command("maintenance", "start", *window, "--contact", "ops@example.org") == 0
    maintenance = capsys.readouterr().out.split()[0]
    await events.follow(pool, {"k": Event("k", "unavailable", ["token"], "c", "c", now_ms - 1000)}, {}, now_ms)
    going_on = await pool.fetchval("SELECT event FROM outage_event WHERE key = 'k'")
    never = [f"event-{name}" for name in ("999999", "", "x", "9" * 30)]
    for wrong in (maintenance, f"event-{going_on}", "nowhere", *never):
        assert await command("notice", "retract", wrong, *WORDS) == 1, wrong
        assert capsys.readouterr().err.count("\n") == 1
    await pool.execute("TRUNCATE outage_event, outage_notice")
