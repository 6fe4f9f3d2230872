"""What pages name exists: variables of the environment, metrics, files of this repository, versions that will do."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from ddr.settings import Settings
from ddr.settings_sources import OTHER_VARIABLES
from ddr.store.database.binaries import OLDEST

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), *(ROOT / "certs").glob("*.md")])
VARIABLES = {f"DDR_{field.name.upper()}" for field in fields(Settings)} | OTHER_VARIABLES
SUFFIXES = ("_total", "_bucket", "_sum", "_count", "_created")
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def source() -> str:
    """All of our code, as one text."""
    return "\n".join(file.read_text() for file in (ROOT / "ddr").rglob("*.py"))


@by_page
def test_variables_are_settings(page: Path) -> None:
    assert set(re.findall(r"\bDDR_[A-Z][A-Z_]+\b", page.read_text())) <= VARIABLES


@by_page
def test_metrics_are_made(page: Path) -> None:
    for name in re.findall(r"\bddr_[a-z_]+[a-z]\b", re.sub(r"\]\([^)]*\)", "", page.read_text())):
        stem = next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name)
        if not name.startswith(("ddr_restored", "ddr_rehearsal", "ddr_before", "ddr_password")):
            assert name in source() or stem in source(), f"{page.name}: {name}"


@by_page
def test_files_are_there(page: Path) -> None:
    if page.name == "conformance.md":
        return  # names of tests, without their folder
    named = re.findall(r"`((?:ddr|docs|tests|tools|examples|deploy|miv_packages)/[\w./-]*)`", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_oldest_versions_are_those_that_are_refused_below() -> None:
    guide, readme = (ROOT / "docs/operator-guide.md").read_text(), (ROOT / "README.md").read_text()
    assert re.findall(r"PostgreSQL (\d+) or newer", guide) == [str(OLDEST)]
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert [f">={one}" for one in re.findall(r"Python (\d\.\d+)\+", readme)] == [needs]
    assert [f">={one}" for one in re.findall(r"Python (\d\.\d+) or newer", (ROOT / "CONTRIBUTING.md").read_text())] == [
        needs
    ]
