"""The journal of ends on a full disk or a crashing host: written entries are there, whatever precedes them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest

from ddr.appending import append
from ddr.store.audit.journal import Entry, Journal, check, entries, files, held, unreadable
from ddr.store.database.errors import StoreError
from tests.support.full_disk import UNREADABLE, full_after

AT_MS = 1_790_000_000_000
ONE, TWO, THREE = [{"event": "patient:pairing:ended", "at_ms": AT_MS + n, "pairing": f"{n}" * 64} for n in range(3)]


async def noted(folder: Path, *written: Entry) -> Path:
    """The file after these entries."""
    journal = Journal()
    with journal.kept_in(folder):
        for entry in written:
            await journal.note(entry)
    (path,) = files(folder)
    return path


@pytest.mark.requirement("CON-005")
@pytest.mark.parametrize(("lost", "kept"), [(1, [ONE, TWO, THREE]), (2, [ONE, THREE]), (90, [ONE, THREE])])
async def test_an_end_after_a_line_that_a_crash_cut_off_is_there(tmp_path: Path, lost: int, kept: list[Entry]) -> None:
    """Nobody ends the line of a dead process, so what comes next stands on it."""
    path = await noted(tmp_path, ONE, TWO)
    path.write_bytes(path.read_bytes()[:-lost])
    await noted(tmp_path, THREE)
    assert list(entries(tmp_path)) == kept


async def test_a_line_that_a_full_disk_cut_off_is_told_and_costs_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = await noted(tmp_path, ONE)
    with full_after(path, 20):
        await noted(tmp_path, TWO)
    assert "journal.not_written" in caplog.messages
    await noted(tmp_path, THREE)
    assert list(entries(tmp_path)) == [ONE, THREE]


async def test_a_full_disk_is_none_to_start_on(tmp_path: Path) -> None:
    """It takes the name of a file, and no bytes."""
    path = await noted(tmp_path, ONE)
    with full_after(path, -path.stat().st_size), pytest.raises(StoreError, match="journal_dir"):
        check(tmp_path)
    check(tmp_path)
    assert list(entries(tmp_path)) == [ONE]


@pytest.mark.skipif(not UNREADABLE.exists(), reason="no file that fails when it is read")
@pytest.mark.parametrize("read", [lambda folder: list(entries(folder)), held, unreadable])
def test_a_file_that_its_disk_does_not_give_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    file = tmp_path / "ends-host-2026-09.jsonl"
    file.symlink_to(UNREADABLE)
    with pytest.raises(OSError, match="Input/output error") as failed:
        read(tmp_path)
    assert failed.value.filename == str(file)


async def test_who_typed_the_command_is_told_that_an_end_is_not_in_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = Journal()
    with journal.kept_in(tmp_path / "file"):
        await journal.note(ONE)
        assert journal.unwritten == "Not a directory"
    with journal.kept_in(tmp_path):
        assert journal.unwritten == ""
        await journal.note(ONE)
        assert journal.unwritten == ""


async def test_an_end_for_whose_line_there_is_no_thread_is_told_and_fails_for_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal()
    with (
        patch.object(ThreadPoolExecutor, "submit", side_effect=RuntimeError("can't start new thread")),
        journal.kept_in(tmp_path),
    ):
        await journal.note(ONE)
        assert journal.unwritten == "can't start new thread"
    assert "journal.not_written" in caplog.messages


async def test_a_disk_that_hangs_stops_no_end_and_has_the_line_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ddr.store.audit.journal.PATIENCE_SECONDS", 0.2)
    back = threading.Event()

    def late(descriptor: int, content: bytes) -> None:
        back.wait(60)
        append(descriptor, content)

    monkeypatch.setattr("ddr.store.audit.journal.append", late)
    journal = Journal()
    with journal.kept_in(tmp_path):
        async with asyncio.timeout(20):
            for _ in range(50):
                await journal.note(ONE)
        assert caplog.messages.count("journal.not_written") == 50
        back.set()
        await journal.note(TWO)
        for _ in range(1000):
            if len(list(entries(tmp_path))) == 51:
                break
            await asyncio.sleep(0.02)
        caplog.clear()
        await journal.note(THREE)
    *found, last = entries(tmp_path)
    assert (len(found), found.count(ONE), found.count(TWO), last) == (51, 50, 1, THREE)  # of several threads
    assert "journal.not_written" not in caplog.messages


def owner_of(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_gid


async def test_a_command_of_root_leaves_the_journal_to_the_owner_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the recorder could write no end until the next month."""
    given: list[tuple[Path, int, int]] = []
    owner = owner_of(tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.chown", lambda path, user, group: given.append((path, user, group)))
    path = await noted(tmp_path / "journal", ONE, TWO)
    assert given == [(one, *owner) for one in (tmp_path / "journal", path)]
