"""docs/evidence: every column is described, every test named exists, and the pages are what the data says."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg

from ddr.store.patients import erasure
from tools import evidence

TESTS = Path(__file__).parents[1]

_COLUMNS = """
    SELECT c.relname AS name, array_agg(a.attname::text) AS columns
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
     GROUP BY c.relname"""


async def test_every_column_is_described(pool: asyncpg.Pool) -> None:
    data = evidence.load("data")
    found = {row["name"]: set(row["columns"]) for row in await pool.fetch(_COLUMNS)}
    assert {
        name: columns - evidence.columns(data, name).keys() for name, columns in found.items() if name in data["tables"]
    } == {name: set() for name in found if name in data["tables"]}, "describe them in docs/evidence/data.toml"
    assert found.keys() == data["tables"].keys(), "describe them in docs/evidence/data.toml"
    gone = {name: one["columns"].keys() - found[name] for name, one in data["tables"].items()}
    assert not any(gone.values())


def test_what_goes_with_the_patient_says_so_and_nothing_else() -> None:
    """Of a table that goes with another one the other one is named."""
    deleted_by = {name: one["deleted_by"] for name, one in evidence.load("data")["tables"].items()}
    goes = {
        name
        for name, how in deleted_by.items()
        if re.search("with the (patient|pairing|measurement)|^the patient", how)
    }
    assert goes == set(erasure.TABLES)


def test_every_table_says_whose_and_how_long() -> None:
    for one in evidence.load("data")["tables"].values():
        assert one["personal"] in ("identifying", "pseudonymous", "none")
        assert all(one[name] for name in ("purpose", "whose", "kept", "deleted_by"))


def test_every_hazard_is_shown_by_tests_that_exist() -> None:
    listed = evidence.load("hazards")["hazard"]
    assert len({one["id"] for one in listed}) == len(listed) > 5
    for one in listed:
        assert one["tests"] and all(one[name] for name in ("cause", "harm", "measure", "residual"))
        for test in one["tests"]:
            path, _, name = test.partition("::")
            assert re.search(rf"^(async )?def {name}\(", (TESTS / path).read_text(), re.MULTILINE), test


STRIDE = {
    "spoofing",
    "tampering",
    "repudiation",
    "information disclosure",
    "denial of service",
    "elevation of privilege",
}
LINDDUN = {
    "linking",
    "identifying",
    "non-repudiation",
    "detecting",
    "data disclosure",
    "unawareness",
    "non-compliance",
}


def test_every_threat_is_shown_by_tests_that_exist() -> None:
    for one in evidence.load("threats")["threat"]:
        for test in one["tests"]:
            path, _, name = test.partition("::")
            assert re.search(rf"^(async )?def {name}\(", (TESTS / path).read_text(), re.MULTILINE), test


def test_every_kind_of_threat_is_met() -> None:
    listed = evidence.load("threats")["threat"]
    assert {kind for one in listed for kind in one["stride"]} == STRIDE
    assert {kind for one in listed for kind in one["linddun"]} == LINDDUN
    assert all(one["stride"] and one["tests"] and one["asset"] and one["residual"] for one in listed)


def test_the_pages_are_what_the_data_says() -> None:
    for page in {where for where, _ in evidence.BLOCKS.values()}:
        text = (evidence.ROOT / page).read_text()
        assert evidence.rendered(page, text) == text, f"{page}: run make evidence"
