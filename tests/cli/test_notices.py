"""`ddr maintenance` and `ddr notice`: a command typed twice announces once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from ddr.cli.main import main
from ddr.fhir.instants import date_time
from ddr.store.outages import notices
from ddr.store.outages.notices import Notice

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
TOLD = ("--cause", "Release 1.4", "--impact", "No data", "--contact", "ops@example.org")


@pytest.fixture
async def own(pool: asyncpg.Pool, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> asyncpg.Pool:
    """The database of this file's tests, which commands use, too, without notices."""
    monkeypatch.setenv("DDR_DATABASE_URL", database_url)
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
    monkeypatch.setenv("DDR_STATE_DIR", str(tmp_path))
    await pool.execute("TRUNCATE outage_notice")
    return pool


async def name_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a notice is called that a command tells."""
    assert await asyncio.to_thread(main, arguments) == 0
    return capsys.readouterr().out.split()[0]


async def test_an_announcement_that_is_typed_twice_is_one(
    own: asyncpg.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    now_ms = await own.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    from_ms = now_ms // 1000 * 1000 + 21 * DAY_MS
    window = ("maintenance", "schedule", "--from", date_time(from_ms), "--until", date_time(from_ms + HOUR_MS), *TOLD)
    name = await name_of(capsys, *window)
    assert await name_of(capsys, *window) == name
    # A while later it would be too late to announce it anew.
    ahead = "UPDATE outage_notice SET from_ms = from_ms - $1, until_ms = until_ms - $1"
    await own.execute(ahead, 20 * DAY_MS)
    soon = ("--from", date_time(from_ms - 20 * DAY_MS), "--until", date_time(from_ms - 20 * DAY_MS + HOUR_MS))
    assert await name_of(capsys, "maintenance", "schedule", *soon, *TOLD) == name
    others = {name}
    for more in (("--demoted",), ("--functions", "token"), ("--cause-de", "Version 1.4")):
        others.add(await name_of(capsys, *window, *more))
    assert len(others) == 4
    assert await name_of(capsys, "maintenance", "cancel", name) == name
    assert await name_of(capsys, *window) not in others, "what was cancelled is announced anew"
    assert await own.fetchval("SELECT count(*) FROM outage_notice") == 5


@pytest.mark.parametrize("known_end", [True, False])
async def test_what_begins_now_goes_on_when_it_is_typed_again(
    own: asyncpg.Pool, capsys: pytest.CaptureFixture[str], known_end: bool
) -> None:
    now_ms = await own.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    until = ("--until", date_time(now_ms // 1000 * 1000 + HOUR_MS))
    start = ("maintenance", "start", *until, *TOLD, "--urgent", "--reason", "CVE-2027-1234")
    report = ("notice", "report", "--state", "demoted", "--functions", "token", "--cause", "Late")
    command, end = (start, "end") if known_end else (report, "resolve")
    name = await name_of(capsys, *command)
    assert await name_of(capsys, *command) == name
    earlier = ("--from", date_time(now_ms - HOUR_MS))
    assert known_end or await name_of(capsys, *command, *earlier) != name, "it began before"
    await name_of(capsys, command[0], end, name)
    assert await name_of(capsys, *command) != name


async def test_a_disruption_that_is_over_is_told_with_its_end_and_once(
    own: asyncpg.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    now_ms = await own.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint") // 1000 * 1000
    report = (
        "notice",
        "report",
        "--state",
        "unavailable",
        "--functions",
        "token",
        "--cause",
        "Lost\u00a0disk",
        "--from",
    )
    from_ms, until_ms = now_ms - 5 * HOUR_MS, now_ms - 3 * HOUR_MS
    span = (*report, date_time(from_ms), "--until", date_time(until_ms))
    name = await name_of(capsys, *span)
    assert await name_of(capsys, *span) == name
    known = await notices.find(own, name)
    assert known is not None and (known.from_ms, known.end_ms) == (from_ms, until_ms)
    later = await name_of(capsys, *report, date_time(from_ms + HOUR_MS), "--until", date_time(until_ms))
    assert later != name, "it is another time"
    assert await asyncio.to_thread(main, (*report, date_time(until_ms), "--until", date_time(from_ms))) == 1
    assert capsys.readouterr().err == "ddr: --until must be after the start\n"
    assert await name_of(capsys, *report, date_time(from_ms)) not in (name, later), "it goes on"


async def test_of_several_that_tell_the_same_at_once_one_does(own: asyncpg.Pool) -> None:
    words = ("cause", "", "", "", "", None)
    one = Notice("first", False, "demoted", ["token"], 1000, None, *words, 1000, 1000)
    told = [notices.add_once(own, replace(one, notice=name)) for name in ("first", "second", "third")]
    assert len({known.notice for known in await asyncio.gather(*told)}) == 1
    assert await own.fetchval("SELECT count(*) FROM outage_notice") == 1
