"""Names on pages exist: environment variables, metrics, files of this repository, and suitable versions."""

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
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "certs").glob("*.md")])
VARIABLES = {f"DDR_{field.name.upper()}" for field in fields(Settings)} | OTHER_VARIABLES
SUFFIXES = ("_total", "_bucket", "_sum", "_count", "_created")
# Words of PostgreSQL, PgBouncer, Citus, OAuth and CSAF that no code of ours needs.
FOREIGN = {
    *("citus_set_coordinator_host", "citus_update_node", "client_secret_basic", "commit_delay", "connect_query"),
    *("csaf_vex", "known_not_affected", "log_min_duration_statement", "max_standby_streaming_delay", "max_wal_size"),
    *("max_locks_per_transaction", "temp_file_limit"),
    *("pg_restore", "pg_stat_archiver", "pg_stat_database", "pg_stat_statements", "pg_upgrade", "pg_verifybackup"),
    *("pg_waldump", "query_timeout", "remote_write", "revision_history", "shared_buffers"),
    "synchronous_standby_names",
}
ROUTE = r"/(?:me|oauth|login|status|docs|healthz|readyz|metrics|gateway|\.well-known)\b[\w./-]*"
NAMES = (r"[a-z]\w*_\w+", r"(?:diga|patient|operator|gateway|system):[\w:-]+", ROUTE)
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


@cache
def beside() -> str:
    """What else has names: what is deployed, the tests' marks and fixtures, packages."""
    files = [*(ROOT / "deploy").rglob("*.*"), *(ROOT / "tests/support").glob("*.py"), ROOT / "pyproject.toml"]
    files += [
        ROOT / "tests/conftest.py",
        *(ROOT / "ddr").rglob("*.json"),
        *(ROOT / "ddr").rglob("*.sql"),
        *(ROOT / "miv_packages").rglob("*.toml"),
    ]
    return "\n".join(file.read_text() for file in files)


def unknown(text: str) -> list[str]:
    """Names between backticks that stand nowhere: settings, tables, columns, functions, events, routes."""
    named = (found.group(1) for names in NAMES for found in re.finditer(rf"`(?:[A-Z]+ )?({names})`", text))
    return sorted(name for name in {*named} - FOREIGN if name not in source() and name not in beside())


@by_page
def test_words_of_ours_are_known(page: Path) -> None:
    if page.name not in ("CHANGELOG.md", "conformance.md"):  # history, names of tests
        assert unknown(page.read_text()) == []


def test_what_there_is_not_is_found() -> None:
    made_up = ["audit_weeks", "patient:consent:forgotten", "/me/secrets", "/oauth/tokens"]
    there = "`audit_days`, `patient:consent:withdrawn`, `GET /me/data.json`, `/oauth/token`"
    assert unknown(" ".join(f"`{name}`" for name in made_up) + there) == sorted(made_up)


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
