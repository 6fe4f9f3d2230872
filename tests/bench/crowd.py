"""A crowd of patients by COPY: copies of one with real data and a real pairing, in all tables that name a patient."""

from __future__ import annotations

import secrets
from typing import Any
from uuid import UUID, uuid4

import asyncpg

AT_ONCE = 500  # patients in one COPY
# The standing is gathered by the database.
_TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'patient_id'
 WHERE c.relkind = 'r' AND NOT c.relispartition AND c.relnamespace = current_schema()::regnamespace
   AND c.relname <> 'standing' ORDER BY c.relname"""

_GENERATED = """
SELECT table_name::text, column_name::text FROM information_schema.columns
 WHERE table_schema = current_schema() AND is_generated = 'ALWAYS'"""


async def fill(pool: asyncpg.Pool, pattern: UUID, patients: int) -> None:
    """Add so many copies of the patient `pattern`. Their numbers are its own, as keys begin with the patient; their
    pairings have ids of their own, and their values are random bytes that compress no better than values do.
    """
    rows = {
        name: await pool.fetch(f"SELECT * FROM {name} WHERE patient_id = $1", pattern)
        for (name,) in await pool.fetch(_TABLES)
    }
    rows = {name: found for name, found in rows.items() if found}
    computed = {tuple(one) for one in await pool.fetch(_GENERATED)}
    names = {row["pairing_id"] for row in rows["pairing"]}
    for begin in range(0, patients, AT_ONCE):
        copies = [
            (uuid4(), {name: secrets.token_hex(32) for name in names}) for _ in range(min(AT_ONCE, patients - begin))
        ]
        for table, found in rows.items():
            columns = [column for column in found[0].keys() if (table, column) not in computed]  # noqa: SIM118
            records = [
                tuple(_copied(column, row[column], own, renamed) for column in columns)
                for own, renamed in copies
                for row in found
            ]
            async with pool.acquire() as connection:
                await connection.copy_records_to_table(table, columns=columns, records=records)


def _copied(column: str, value: Any, patient_id: UUID, renamed: dict[str, str]) -> Any:
    if column == "patient_id":
        return patient_id
    if column == "vals" and value:
        noise = secrets.token_bytes(len(value) // 2)
        return b"".join(bytes((low, 0)) for low in noise)
    if isinstance(value, str) and value in renamed:
        return renamed[value]
    if isinstance(value, bytes) and len(value) == 32:  # the hash of a token
        return secrets.token_bytes(32)
    return value
