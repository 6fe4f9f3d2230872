"""Text comparison in the database: the same in every locale, letter by letter as in Unicode."""

from __future__ import annotations

import sys
import unicodedata

import asyncpg
import pytest

from ddr.fhir.search.query import StringValue
from ddr.store.search.comparisons import Parameters, string

PART = 5_000  # letters in a statement, which has some seconds
NEWER = unicodedata.unidata_version != "14.0.0"  # than the database's function: what it does not know stays as it is
STROKES = str.maketrans("øłđħŧı", "oldhti")
CHARACTERS = [
    chr(point)
    for point in range(1, sys.maxunicode + 1)
    if unicodedata.category(chr(point)) not in ("Cn", "Cs")  # not assigned, surrogates
]


def folded(text: str) -> str:
    """NFKD without combining marks, case folded (FHIR R4 search.html#string), letters with a stroke without it."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).casefold().translate(STROKES)


@pytest.mark.requirement("RS-050")
async def test_every_letter_is_folded_as_unicode_says(pool: asyncpg.Pool) -> None:
    query = "SELECT array_agg(folded(c) ORDER BY n) FROM unnest($1::text[]) WITH ORDINALITY AS t(c, n)"
    parts = [CHARACTERS[at : at + PART] for at in range(0, len(CHARACTERS), PART)]
    found = [letter for part in parts for letter in await pool.fetchval(query, part)]
    wrong = {hex(ord(c)): (got, folded(c)) for c, got in zip(CHARACTERS, found, strict=True) if got != folded(c)}
    assert not {point: pair for point, pair in wrong.items() if not (NEWER and pair[0] == chr(int(point, 16)))}
    again = "SELECT bool_and(folded(c) = c) FROM unnest($1::text[]) t(c)"
    assert all([await pool.fetchval(again, found[at : at + PART]) for at in range(0, len(found), PART)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("Ελλάς", "ελλασ"),
        ("ǅ ﬃ ½", "dz ffi 1⁄2"),
        ("İı", "ii"),
        ("", ""),
    ],
)
async def test_whole_texts(pool: asyncpg.Pool, text: str, expected: str) -> None:
    assert await pool.fetchval("SELECT folded($1)", text) == expected == folded(text)


async def test_a_searched_text_is_folded_once(pool: asyncpg.Pool) -> None:
    """And not for each row, of which there may be many, however the statement is planned."""
    parameters = Parameters([])
    condition = string(parameters, "name", StringValue("contains", "ä"))
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await conn.execute(f"PREPARE named (text) AS SELECT FROM (VALUES ('x'), ('y')) t(name) WHERE {condition}")
        plan = await conn.fetch("EXPLAIN (VERBOSE) EXECUTE named ('ä')")
        await conn.execute("DEALLOCATE named")
    (looked,) = (line for (line,) in plan if "Filter:" in line)
    assert looked.count("folded(") == 1, "that of the row"
