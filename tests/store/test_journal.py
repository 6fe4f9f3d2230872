"""The journal of ends on a disk that is full or a host that crashes: what was written is there, whatever it follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddr.store.audit.journal import Entry, Journal, entries, files
from tests.support.full_disk import full_after

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
