"""Pytest plugin of `make coverage`: records for each line of the server which requirement's test reached it.

Processes that a test starts inherit the name through the environment (pyproject.toml, tool.coverage.run).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import coverage
import pytest

VARIABLE = "COVERAGE_CONTEXT"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """The requirement ids of a test are the name of its context; tests without one share an empty name."""
    ids = sorted({name for mark in item.iter_markers("requirement") for name in mark.args})
    measured = coverage.Coverage.current()
    if not ids or measured is None:
        return (yield)
    measured.switch_context(os.environ.setdefault(VARIABLE, " ".join(ids)))
    try:
        return (yield)
    finally:
        del os.environ[VARIABLE]
        measured.switch_context("")
