"""Which part a patient belongs to: the hash is the database's own, and each part begins where Citus says."""

from __future__ import annotations

from uuid import UUID, uuid5

import asyncpg

from ddr.store.database.parts import Parts, hashed

KEYS = [uuid5(UUID(int=7), str(number)) for number in range(500)] + [UUID(int=0), UUID(int=2**128 - 1)]

HASHES = "SELECT array_agg(uuid_hash(key) ORDER BY n) FROM unnest($1::uuid[]) WITH ORDINALITY AS t (key, n)"


async def test_the_hash_is_that_of_the_database(pool: asyncpg.Pool) -> None:
    found = await pool.fetchval(HASHES, KEYS)
    assert list(map(hashed, KEYS)) == found
    assert min(found) < 0 < max(found)


def test_a_patient_is_in_the_part_whose_hashes_begin_before_it() -> None:
    key = KEYS[0]
    here, there = ("db2", 5432), ("db3", 5432)
    begin = hashed(key)
    assert Parts([(begin + 1, there), (begin, here)]).host_of(key) == here
    assert Parts([(begin - 5, here), (begin + 1, there)]).host_of(key) == here
    assert Parts([(begin + 1, there), (-(2**31), None)]).host_of(key) is None
    assert Parts([(begin + 1, there)]).host_of(key) is None
    assert Parts().host_of(key) is None
    assert Parts([(0, here), (1, None), (2, there), (3, here)]).hosts == {here, there}
