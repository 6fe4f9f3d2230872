"""Pytest plugin of `make coverage`: notes for each line of the server by which test of a requirement it was reached.

What a test starts as a process of its own inherits the name by the environment (pyproject.toml, tool.coverage.run).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import coverage
import pytest

VARIABLE = "COVERAGE_CONTEXT"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """The ids that a test carries are the name of its context; tests without one share the nameless one."""
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
