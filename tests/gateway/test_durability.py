"""Acknowledged data survives kill -9 of workers and of PostgreSQL; `make soak` tests it for longer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.gateway.durability import endure


@pytest.mark.slow
def test_nothing_that_was_answered_is_lost(tmp_path: Path) -> None:
    try:
        report = endure(tmp_path, seconds=8)
    finally:
        shutil.rmtree((tmp_path / "postgres").resolve(), ignore_errors=True)
    assert all(not line.startswith("0 answered") for line in report), report
