"""`ddr audit verify` and `ddr audit export`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from ddr.cli.main import main
from ddr.fhir.instants import instant
from ddr.operations.audit_trail import purge, seal
from ddr.settings_sources import load_settings
from ddr.store.audit.trail import Event, record
from ddr.store.database.pool import open_pool
from tests.support.audit import DAY_MS, pack_all, people, write_day
from tests.support.database import migrated_database
from tests.support.day import today

NOW = 1_795_341_600_000


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(main, arguments)


@pytest.fixture
async def trail(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncpg.Pool]:
    """A database of its own that the command works on."""
    async with migrated_database(database_url) as url:
        monkeypatch.setenv("DDR_DATABASE_URL", url)
        monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
        async with await open_pool(load_settings()) as pool:
            yield pool


async def test_verify(trail: asyncpg.Pool, capsys: pytest.CaptureFixture[str]) -> None:
    await record(trail, Event.DATA_READ, NOW, client_id="urn:diga:bfarm:00001")
    await seal(trail, NOW)
    await record(trail, Event.DATA_READ, NOW)
    assert await run("audit", "verify") == 0
    first, second, head = capsys.readouterr().out.splitlines()
    assert first == "1 entries under 1 seals (0 of them purged)"
    assert second == "1 entries not yet sealed"
    assert await run("audit", "verify", "--head", head.removeprefix("head ")) == 0
    assert await run("audit", "verify", "--head", "1:00") == 1
    assert capsys.readouterr().err == "ddr: audit trail: the chain has no seal 1:00\n"


async def test_verify_of_a_changed_trail(trail: asyncpg.Pool, capsys: pytest.CaptureFixture[str]) -> None:
    await record(trail, Event.DATA_READ, NOW)
    await seal(trail, NOW)
    await trail.execute("ALTER TABLE audit DISABLE TRIGGER ALL")
    await trail.execute("UPDATE audit SET event = 'diga:data:refused'")
    assert await run("audit", "verify") == 1
    assert "an entry between 1 and 1 was changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE audit_packed SET body = substr(body, 2)", "is damaged"),
        ("UPDATE audit_word SET content = 'x'", "refers to a word that is missing"),
        ("DELETE FROM audit_packed", "are incomplete: 0 of 4"),
    ],
)
async def test_export_of_a_damaged_pack(
    trail: asyncpg.Pool, capsys: pytest.CaptureFixture[str], damage: str, told: str
) -> None:
    """One line and a status; what is before the damage is there, nothing behind it."""
    await write_day(trail, today() - 2, people(1), 4)
    await pack_all(trail)
    async with trail.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        await conn.execute(damage)
    assert await run("audit", "export") == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("ddr: audit trail: ")
    assert told in line
    assert printed.out == ""


async def test_export(trail: asyncpg.Pool, capsys: pytest.CaptureFixture[str]) -> None:
    await record(trail, Event.DATA_READ, NOW, client_id="a", pairing_id="p", detail={"type": "Device"})
    await record(trail, Event.DATA_REFUSED, NOW + 1000, client_id="b", pairing_id="q")
    assert await run("audit", "export", "--event", "diga:data:") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {
        "no": 1,
        "at": "2026-11-22T10:00:00.000Z",
        "event": "diga:data:read",
        "client_id": "a",
        "pairing_id": "p",
        "detail": {"type": "Device"},
    }
    for options in (
        ("--client-id", "b"),
        ("--pairing-id", "q"),
        ("--event", "diga:data:refused"),
        ("--from", "2026-11-22T10:00:01Z"),
    ):
        assert await run("audit", "export", *options) == 0
        assert json.loads(capsys.readouterr().out) == second
    assert await run("audit", "export", "--until", "2026-11-22T10:00:01Z") == 0
    assert json.loads(capsys.readouterr().out) == first
    with pytest.raises(SystemExit):
        main(["audit", "export", "--from", "yesterday"])


async def test_an_export_says_what_it_was_asked_for_and_is_dropped(
    trail: asyncpg.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when all of it is gone; and nothing where all is there, or where nothing older was asked for."""
    old, new = today() - 100, today() - 1
    for day in (old, new):
        await write_day(trail, day, people(1), 4)
    await pack_all(trail)
    assert await run("audit", "export", "--from", shown(old)) == 0
    whole = capsys.readouterr()
    assert (len(whole.out.splitlines()), whole.err) == (8, "")
    assert await purge(trail, 30, (today() + 1) * DAY_MS) == 4
    assert await run("audit", "export", "--from", shown(old)) == 0
    rest = capsys.readouterr()
    assert rest.out.splitlines() == whole.out.splitlines()[4:]
    (line,) = rest.err.splitlines()
    assert line.startswith(f"ddr: audit trail: entries up to {shown(old)[:10]}")
    assert line.endswith("have been deleted (setting audit_days)")
    for options in ((), ("--from", shown(new))):
        assert await run("audit", "export", *options) == 0
        assert capsys.readouterr().err == ""


def shown(day: int) -> str:
    return instant(day * DAY_MS)


async def test_a_time_without_a_date_is_exported_as_the_nearest_one(
    trail: asyncpg.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    for at_ms in (-(2**63), 2**63 - 1):
        await record(trail, Event.DATA_READ, at_ms)
    assert await run("audit", "export") == 0
    told = [json.loads(line)["at"] for line in capsys.readouterr().out.splitlines()]
    assert told == ["0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"]
