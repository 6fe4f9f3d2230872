"""The guide's table of sizes follows from the figures in docs/performance.md; only rounding may differ."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
YEAR = 365 * 86_400
POLL_SECONDS, UPLOAD_SECONDS, READING_SECONDS = 900, 300, 300
SPARE = 3  # peaks
TLS = 2  # what an upload takes of a worker with TLS and network, which were not measured
UNITS = {"GB": 1e9, "TB": 1e12}


def figure(pattern: str) -> list[float]:
    """Numbers of the page of measurements."""
    found = re.search(pattern, (DOCS / "performance.md").read_text(), re.MULTILINE)
    assert found is not None, pattern
    return [float(number.replace(",", "")) for number in found.groups()]


def costs(pattern: str) -> list[float]:
    """The same, microseconds of processor time as seconds."""
    return [us / 1e6 for us in figure(pattern)]


def test_the_table_follows_from_what_was_measured() -> None:
    worker, database = costs(r"^\| poll with nothing new.*\| ([\d,]+) us \| ([\d,]+) us \|$")
    upload, stored = costs(r"^\| CPU of an upload of one reading.*?\| ([\d,]+) us, ([\d,]+) us;")
    reading = figure(r"^\| storage, .* \| ([\d.]+) bytes/reading")[0]
    guide = (DOCS / "operator-guide.md").read_text()
    entry = re.search(r"entry of the audit trail takes \d+ bytes[^(]*, then ([\d.]+) bytes", guide)
    rows = re.findall(
        r"^\| (\d[\d,]*) \| ([\d.,]+) \| ([\d.,]+) \| ([\d.]+) \| ([\d.]+) \| (.*) \| (.*) \|$", guide, re.M
    )
    assert entry is not None and len(rows) == 4
    for row in rows:
        patients, polls, uploads, cores, base = (float(cell.replace(",", "")) for cell in row[:5])
        disk, trail = (float(number) * UNITS[unit] for number, unit in map(str.split, row[5:]))
        assert near(polls, patients / POLL_SECONDS) and near(uploads, patients / UPLOAD_SECONDS)
        assert near(cores, SPARE * (polls * worker + uploads * upload * TLS))
        assert near(base, SPARE * (polls * database + uploads * stored))
        assert near(disk, patients * YEAR / READING_SECONDS * reading)
        assert near(trail, patients * YEAR / POLL_SECONDS * float(entry[1]))
    log = re.search(r"takes \d+ bytes on its day and (\d+) when that is packed.*?([\d.]+) GB a day", guide, re.DOTALL)
    assert log is not None and near(float(log[2]) * 1e9, 1e6 * 2 * 86_400 / POLL_SECONDS * float(log[1]))


def near(shown: float, exact: float) -> bool:
    """Within rounding."""
    return 1 / 1.1 <= shown / exact <= 1.1
