"""`ddr serve` does not start what it could not keep up: a lost key, a journal that cannot be written."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import pytest

from ddr.cli import serve
from ddr.cli.errors import CommandError
from ddr.cli.serve import prepare
from ddr.operations.restore import LATE_MS, keep_mark
from ddr.settings import Settings
from ddr.settings_sources import load_settings
from ddr.store.audit import journal
from ddr.store.database.digest import sha256
from ddr.store.database.errors import StoreError
from ddr.store.database.pool import connect
from ddr.store.gateways import tokens
from tests.cli.recorder import ddr, settings_for
from tests.support.full_disk import full_after

KEY = base64.b64encode(b"k" * 32).decode()


async def told(*arguments: str, settings: dict[str, Any]) -> tuple[int, str]:
    """Exit status and output of a command that is a process of its own."""
    done = await asyncio.to_thread(ddr, *arguments, settings=settings)
    lines = (done.stdout + done.stderr).splitlines(keepends=True)
    return done.returncode, "".join(line for line in lines if not line.startswith("{"))  # what is said beside the log


async def test_a_lost_key_is_said_and_not_replaced(own_url: str, tmp_path: Path) -> None:
    """The file is gone, or another key is set; the way out makes one key and restarts from there."""
    settings = settings_for(tmp_path, database_url=own_url)
    await prepare(_loaded(settings))
    kept = tmp_path / "key-encryption.key"
    kept.unlink()
    pool = await asyncpg.create_pool(own_url, min_size=1, max_size=1)
    before = await pool.fetch("SELECT * FROM signing_key")
    for more, complaint in (({}, f"the file {kept} is missing"), ({"key_encryption_key": KEY}, "does not open")):
        for command in (("serve",), ("keys", "rotate")):
            status, text = await told(*command, settings={**settings, **more})
            assert status == 1 and complaint in text and "ddr keys replace" in text, text
            assert text.count("\n") == 1
    assert not kept.exists() and await pool.fetch("SELECT * FROM signing_key") == before
    assert (await told("keys", "replace", settings={**settings, "key_encryption_key": KEY}))[0] == 1
    status, text = await told("keys", "replace", "--yes", settings={**settings, "key_encryption_key": KEY})
    assert status == 0, text
    await prepare(_loaded({**settings, "key_encryption_key": KEY}))
    status, text = await told("keys", "replace", "--yes", settings={**settings, "key_encryption_key": KEY})
    assert (status, text.count("\n")) == (1, 1) and "nothing is lost" in text, "typed a second time"
    events = [row["event"] for row in await pool.fetch("SELECT event FROM audit")]
    await pool.close()
    assert events == ["operator:signing-key:replaced"]


async def test_what_the_journal_knows_is_done_before_anything_is_served(own_url: str, tmp_path: Path) -> None:
    pool = await asyncpg.create_pool(own_url, min_size=1, max_size=1)
    patient_id = uuid4()
    await pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 1)", patient_id)
    token = await tokens.create(pool, patient_id, 1_795_341_600_000)
    first = sha256(token).hex()
    folder = tmp_path / "journal"
    with journal.JOURNAL.kept_in(folder):
        await journal.JOURNAL.note({"event": "patient:gateway:disconnected", "at_ms": 1_795_341_600_001, "app": first})
    await prepare(_loaded(settings_for(tmp_path, database_url=own_url)))
    assert await pool.fetchval("SELECT revoked_ms FROM gateway_token") == 1_795_341_600_001
    await pool.close()


async def test_a_start_replays_from_the_mark_of_the_backup_on(own_url: str, tmp_path: Path) -> None:
    """So that a start takes no longer with each year of ends; whatever the clock said when they were written."""
    pool = await connect(own_url, 1)
    patient_id, day_ms, now_ms = uuid4(), 86_400_000, 1_795_341_600_000
    await pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 1)", patient_id)
    made = [await tokens.create(pool, patient_id, now_ms) for _ in range(3)]
    folder = tmp_path / "journal"
    with journal.JOURNAL.kept_in(folder):
        for days, token in zip((0, 1, -1), made, strict=True):
            entry = {"event": "patient:gateway:disconnected", "at_ms": now_ms + days * day_ms}
            await journal.JOURNAL.note({**entry, "app": sha256(token).hex()})
            if days == 0:
                await keep_mark(pool, folder, now_ms, 0)
                await keep_mark(pool, folder, now_ms + LATE_MS + 1, 0)
    await keep_mark(pool, folder, now_ms, 0)  # it never goes back
    await prepare(_loaded(settings_for(tmp_path, database_url=own_url)))
    ended = await pool.fetch("SELECT token_sha256 FROM gateway_token WHERE revoked_ms IS NOT NULL")
    assert {row["token_sha256"] for row in ended} == {sha256(token) for token in made[1:]}
    await pool.close()


async def test_a_journal_that_cannot_be_written_is_no_journal(own_url: str, tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    settings = settings_for(tmp_path, database_url=own_url, journal_dir=blocked / "journal")
    with pytest.raises(StoreError, match="journal_dir"):
        await prepare(_loaded(settings))
    status, text = await told("serve", settings=settings)
    assert status == 1 and text.startswith("ddr: journal_dir") and text.count("\n") == 1


async def test_a_journal_that_cannot_be_looked_into_is_not_taken_for_none(own_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "a file"
    folder.write_text("")
    status, text = await told(
        "restore", "replay", "--journal", str(folder), settings=settings_for(tmp_path, database_url=own_url)
    )
    assert status == 1 and text == f"ddr: {folder}: Not a directory\n"


async def test_entries_are_whole_lines_in_order_and_private(tmp_path: Path) -> None:
    """Many at once, from several writers of one file."""
    folder = tmp_path / "journal"
    with journal.JOURNAL.kept_in(folder):
        notes = [{"event": "e", "at_ms": at, "text": "x" * 200} for at in range(50)]
        await asyncio.gather(*(journal.JOURNAL.note(note) for note in reversed(notes)))
    assert [entry["at_ms"] for entry in journal.entries(folder)] == list(range(50))
    (file,) = journal.files(folder)
    assert file.stat().st_mode & 0o077 == 0 and folder.stat().st_mode & 0o077 == 0
    assert all(orjson.loads(line) for line in file.read_bytes().splitlines())
    assert journal.forget(folder, 31 * 86_400_000 - 1) == 0
    assert journal.forget(folder, 31 * 86_400_000) == 1


def _loaded(settings: dict[str, Any]) -> Settings:
    return load_settings({f"DDR_{name.upper()}": str(value) for name, value in settings.items()})


def test_a_reload_asks_for_the_journal_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`state_dir` is that of the start: a new one is told, and nothing is looked for in it."""
    monkeypatch.setattr(serve, "checked", lambda: Settings(state_dir=Path("/dev/null/ends"), maintenance="until noon"))
    found = serve.rechecked(Settings(state_dir=tmp_path))
    assert (found.state_dir, found.maintenance) == (tmp_path, "until noon")
    monkeypatch.setattr(serve, "checked", lambda: Settings(journal_dir="/dev/null/ends"))
    with pytest.raises(StoreError, match="Not a directory"):
        serve.rechecked(Settings(state_dir=tmp_path))


def test_a_full_state_directory_is_named_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    """Before: "not all of the output could be written", and a file more with each try."""
    settings = Settings(state_dir=tmp_path, database_url="postgresql://nowhere/ddr")
    other = tmp_path / "other"
    other.touch()
    with full_after(other, 0), pytest.raises(CommandError, match=f"state directory {tmp_path} cannot be written"):
        serve._environment(settings)
    assert [*tmp_path.glob("*")] == [other]
    there = serve._environment(settings)
    with full_after(other, 0):
        assert serve._environment(settings) == there  # nothing has to be written
