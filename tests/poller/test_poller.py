"""A poller of some pairings through kills, lost responses, faults and withdrawals; `make poller` has a thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.poller.scene import Size, endure

pytestmark = pytest.mark.packaging


async def test_nothing_is_missed_and_no_pairing_is_lost(tmp_path: Path) -> None:
    report = await endure(
        tmp_path, Size(pairings=40, seconds=25, interval=3.0, token_seconds=33, pause=3.0, repeat_seconds=100)
    )
    assert report.broken == []
    done = report.done
    assert min(done["workers killed"], done["pollers killed"], done["answers lost"], done["consents withdrawn"]) > 0
    assert done["observations compared"] > 40 and done["new"] > 40
