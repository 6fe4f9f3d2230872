"""`ddr availability`: the report says how it was computed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest

from ddr.cli.main import main
from ddr.fhir.instants import parse_date_time
from ddr.store.outages import events
from ddr.store.outages.events import Event


async def run(*arguments: str) -> int:
    return await asyncio.get_running_loop().run_in_executor(None, main, ("availability", *arguments))


@pytest.mark.requirement("OPS-001")
async def test_the_report(
    pool: asyncpg.Pool,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DDR_DATABASE_URL", database_url)
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
    monkeypatch.setenv("DDR_STATE_DIR", str(tmp_path))
    await pool.execute("TRUNCATE outage_event, outage_notice")
    assert await run("--month", "2026-09") == 0
    assert "100.0000%" in capsys.readouterr().out
    from_ms = parse_date_time("2026-09-10T10:00:00Z")[0]
    await events.add(pool, Event("database", "unavailable", ["token"], "Away", "Weg", from_ms, from_ms + 3 * 3_600_000))
    probe = tmp_path / "probe.csv"
    probe.write_text("time,status\n2026-09-10T12:55:00Z,0\n2026-09-10T13:05:00Z,200\n")
    assert await run("--month", "2026-09", "--probe", str(probe)) == 0, "3 h 5 min of 720 h"
    out = capsys.readouterr().out
    assert re.search(r"check database: Away", out) and re.search(r"probe: no answer", out)
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
