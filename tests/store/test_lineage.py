"""A former primary that returns is refused, also by the next process; a deliberate restore says what to remove."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddr.store.database.faults import StaleServer
from ddr.store.database.lineage import Lineage
from tests.support.full_disk import full_after


def test_the_newest_timeline_counts(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path / "timeline.json")
    assert [lineage.note("1", timeline) for timeline in (3, 3, None, 4, 4)] == [False, False, False, True, False]
    with pytest.raises(StaleServer, match="former primary"):
        lineage.note("1", 3)


def test_the_next_process_knows_it(tmp_path: Path) -> None:
    Lineage(tmp_path / "timeline.json").note("1", 4)
    later = Lineage(tmp_path / "timeline.json")
    with pytest.raises(StaleServer, match="remove"):
        later.note("1", 3)
    assert not later.note("1", 5)


def test_another_cluster_is_for_the_next_start_only(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path / "timeline.json")
    lineage.note("1", 4)
    with pytest.raises(StaleServer, match="another database cluster"):
        lineage.note("2", 9)
    assert not Lineage(tmp_path / "timeline.json").note("2", 1)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"system": 1, "timeline": "x"}'])
def test_a_damaged_file_is_no_hindrance(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "timeline.json").write_bytes(content)
    assert not Lineage(tmp_path / "timeline.json").note("1", 2)


def test_a_state_directory_that_cannot_be_written(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path / "missing" / "timeline.json")
    assert not lineage.note("1", 2)
    with pytest.raises(StaleServer):
        lineage.note("1", 1)


def test_a_full_disk_is_told_and_keeps_what_was_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Before: in silence, and with a file that nobody removed for each process."""
    file = tmp_path / "timeline.json"
    lineage = Lineage(file)
    lineage.note("1", 2)
    with full_after(file, -file.stat().st_size):
        assert lineage.note("1", 3)
    (told,) = caplog.records
    assert told.getMessage() == "database.timeline_not_kept"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    with pytest.raises(StaleServer):
        Lineage(file).note("1", 1)
