"""CHANGELOG.md after many edits: no change is listed twice, and none is cut off."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

CHANGELOG = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
ENTRIES = [" ".join(entry.split()) for entry in re.findall(r"^- (.*(?:\n  .*)*)", CHANGELOG, re.MULTILINE)]
ALIKE = 70  # characters with which two entries begin that are of one change, or two lines of which one was left over


def test_no_change_is_told_twice() -> None:
    for told in (ENTRIES, [line for line in CHANGELOG.splitlines() if len(line) >= ALIKE]):
        assert [start for start, count in Counter(one[:ALIKE] for one in told).items() if count > 1] == []


def test_every_entry_comes_to_its_end() -> None:
    assert len(ENTRIES) == len(re.findall(r"^- ", CHANGELOG, re.MULTILINE)) > 0
    assert [entry for entry in ENTRIES if not re.search(r"[.:)`]$", entry)] == []
