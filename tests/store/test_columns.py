"""Statements name their columns: with `*`, a new column of the next version breaks prepared statements."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg

import ddr


async def test_no_statement_gives_whole_rows_of_a_table(pool: asyncpg.Pool) -> None:
    tables = {row[0] for row in await pool.fetch("SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')")}
    sources = {path: path.read_text() for path in Path(ddr.__file__).parent.rglob("*.py")}
    assert tables > {"device", "sensor", "measurement"}
    found = [(path.name, name) for path, text in sources.items() for name in re.findall(r"RETURNING \*", text)]
    for path, text in sources.items():
        names = re.findall(r"(?<!LATERAL \()SELECT \*\s+FROM (\w+)", text)
        found += [(path.name, name) for name in names if name in tables]
    assert not found
