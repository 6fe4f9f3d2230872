"""The row that decides about a pairing's requests agrees with the tables, whatever changes them, in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from ddr.http.core import Core
from ddr.store.authorization import access
from ddr.store.authorization.standings import Standings
from ddr.store.authorization.unpairing import Party, end
from ddr.store.database.distribute import GATHERING, UNFIT_TRIGGERS
from ddr.store.database.pool import Pool
from tests.diga_api.conftest import Pair
from tests.diga_api.world import CGM, MINUTE, Body
from tests.support.citus import one_server_only
from tests.support.clock import Clock

pytestmark = one_server_only

URLS = ("https://one.example", "https://two.example", "https://three.example")

# Changes of a patient's rows; pairing, grant and consent are drawn at random, and each change may repeat.
CHANGES = (
    "INSERT INTO consent (patient_id, pairing_no, miv_url, granted_ms, until_ms)"
    " VALUES ($1, $2, $3, $4, $4::bigint + 1000)",
    """INSERT INTO token_grant (patient_id, pairing_no, scope, created_ms, consent_nos)
       SELECT $1, $2, $3::text, $4, ARRAY(SELECT consent_no FROM consent WHERE patient_id = $1 AND pairing_no = $2)""",
    "UPDATE consent SET withdrawn_ms = $4 WHERE patient_id = $1 AND pairing_no = $2 AND miv_url = $3"
    " AND withdrawn_ms IS NULL",
    "UPDATE consent SET until_ms = least(until_ms, $4) WHERE patient_id = $1 AND pairing_no = $2 AND miv_url = $3"
    " AND withdrawn_ms IS NULL",
    """UPDATE token_grant SET revoked_ms = $4 WHERE patient_id = $1 AND revoked_ms IS NULL AND $3::text <> ''
       AND grant_no = (SELECT min(grant_no) FROM token_grant WHERE patient_id = $1 AND pairing_no = $2)""",
    """DELETE FROM token_grant WHERE patient_id = $1 AND $3::text <> '' AND $4::bigint > 0
       AND grant_no = (SELECT max(grant_no) FROM token_grant WHERE patient_id = $1 AND pairing_no = $2)""",
    """INSERT INTO opening (patient_id, pairing_no, kind, opened_ms) VALUES ($1, $2, $3, $4)
       ON CONFLICT (patient_id, pairing_no, kind) DO UPDATE SET opened_ms = excluded.opened_ms""",
    "DELETE FROM opening WHERE patient_id = $1 AND pairing_no = $2 AND kind = $3 AND $4::bigint > 0",
)
SELDOM = (
    "UPDATE pairing SET ended_ms = coalesce(ended_ms, $4) WHERE patient_id = $1 AND pairing_no = $2 AND $3 <> ''",
    "DELETE FROM pairing_directory WHERE patient_id = $1 AND pairing_no = $2 AND $3::text <> '' AND $4::bigint > 0",
)
MAKE = """
WITH made AS (
  INSERT INTO pairing (patient_id, pairing_id, client_id, salt, created_ms) VALUES ($1, $2, $2, '', 1)
  RETURNING patient_id, pairing_no, pairing_id
), known AS (
  INSERT INTO pairing_directory (patient_id, pairing_no, pairing_id) SELECT * FROM made
)
SELECT pairing_no FROM made"""


async def made(pool: asyncpg.Pool, patient_id: UUID, number: int = 2) -> list[int]:
    """The numbers of the new pairings."""
    return [await pool.fetchval(MAKE, patient_id, uuid4().hex) for _ in range(number)]


async def differing(pool: asyncpg.Pool, patient_id: UUID) -> list[Mapping[str, Any]]:
    """The rows of a patient that differ from what gathering them now would give."""
    return list(
        await pool.fetch(
            """SELECT pairing_no, s.grants, n.grants FROM (SELECT * FROM standing WHERE patient_id = $1) s
                 FULL JOIN (SELECT p.pairing_no, o.* FROM pairing p, standing_of(p.patient_id, p.pairing_no) o
                             WHERE p.patient_id = $1) n USING (pairing_no)
                WHERE (s.pairing_id, s.client_id, s.grants, s.ends_ms, s.openings)
                      IS DISTINCT FROM (n.pairing_id, n.client_id, n.grants, n.ends_ms, n.openings)""",
            patient_id,
        )
    )


async def change(
    conn: asyncpg.Connection | asyncpg.Pool, random: Random, patient_id: UUID, pairings: list[int]
) -> None:
    statement = random.choice(SELDOM if random.random() < 0.03 else CHANGES)
    await conn.execute(statement, patient_id, random.choice(pairings), random.choice(URLS), random.randint(1, 10**6))


@pytest.mark.parametrize("seed", range(6))
async def test_any_changes_leave_what_the_tables_say(core: Core, seed: int) -> None:
    random, patient_id = Random(seed), uuid4()
    pairings = await made(core.pool, patient_id)
    for _ in range(40):
        async with core.pool.acquire() as conn:
            transaction = conn.transaction()
            await transaction.start()
            for _ in range(random.randint(1, 4)):
                within = conn.transaction() if random.random() < 0.3 else None
                if within is not None:
                    await within.start()
                if random.random() < 0.3:
                    await conn.execute(f"SET CONSTRAINTS ALL {random.choice(('IMMEDIATE', 'DEFERRED'))}")
                for _ in range(random.randint(1, 2)):
                    await change(conn, random, patient_id, pairings)
                if within is not None:
                    await (within.rollback() if random.random() < 0.5 else within.commit())
            await (transaction.rollback() if random.random() < 0.1 else transaction.commit())
        assert await differing(core.pool, patient_id) == []


@pytest.mark.parametrize("seed", range(4))
async def test_transactions_at_once_see_what_the_others_did(core: Core, seed: int) -> None:
    """Each transaction changes something else of the same pairings, and they end in any order."""
    patient_id = uuid4()
    pairings = await made(core.pool, patient_id)
    last: list[str] = []

    async def one(number: int) -> None:
        random = Random(seed * 100 + number)
        for _ in range(12):
            try:
                async with core.pool.acquire() as conn, conn.transaction():
                    for _ in range(random.randint(1, 2)):
                        await change(conn, random, patient_id, pairings)
                    await asyncio.sleep(random.random() / 100)
            except asyncpg.DeadlockDetectedError as error:  # two changed the same rows in different orders
                last.append(str(error))

    await asyncio.gather(*(one(number) for number in range(4)))
    assert await differing(core.pool, patient_id) == [], last


async def test_a_role_for_which_triggers_do_not_hold_withdraws_all_the_same(core: Core) -> None:
    """Such a setting is left from a move of the database; behind a pooler the recorder cannot correct it."""
    patient_id = uuid4()
    (pairing_no,) = await made(core.pool, patient_id, 1)
    for statement in CHANGES[:2]:
        await core.pool.execute(statement, patient_id, pairing_no, URLS[0], 5)
    async with core.pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        await conn.execute("UPDATE consent SET withdrawn_ms = 9 WHERE patient_id = $1", patient_id)
    found = await core.pool.fetchval("SELECT grants FROM standing WHERE patient_id = $1", patient_id)
    assert list(found.values()) == [{}]


async def test_a_logical_replication_brings_the_rows_itself(core: Core) -> None:
    """Replication writes without a schema, table by table: a row made meanwhile would conflict with its own."""
    patient_id = uuid4()
    (pairing_no,) = await made(core.pool, patient_id, 1)
    for statement in CHANGES[:2]:
        await core.pool.execute(statement, patient_id, pairing_no, URLS[0], 5)
    found = []
    for missing in (False, True):
        async with core.pool.acquire() as conn, conn.transaction():
            if missing:
                await conn.execute("DELETE FROM standing WHERE patient_id = $1", patient_id)
            await conn.execute("SET LOCAL session_replication_role = replica; SET LOCAL search_path = ''")
            await conn.execute(
                "UPDATE public.consent SET until_ms = until_ms - 1 WHERE patient_id = $1 AND withdrawn_ms IS NULL",
                patient_id,
            )
        found.append(
            [
                list(one["grants"].values())
                for one in await core.pool.fetch("SELECT grants FROM standing WHERE patient_id = $1", patient_id)
            ]
        )
    assert found == [[[{URLS[0]: 1004}]], []]


async def test_all_that_a_transaction_ends_of_a_pairing_is_gathered_once(core: Core) -> None:
    """Otherwise a withdrawal would take time in proportion to the square of what was given before, without bound."""
    patient_id = uuid4()
    pairings = await made(core.pool, patient_id)
    for pairing_no in pairings:
        for statement in CHANGES[:2] * 5:
            await core.pool.execute(statement, patient_id, pairing_no, URLS[0], 5)
    async with core.pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL track_functions = 'pl'")
        for pairing_no in pairings:
            assert await end(conn, patient_id, pairing_no, Party.SYSTEM, "retired", 9)
        await conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        calls = "SELECT calls FROM pg_stat_xact_user_functions WHERE funcname = 'gather_standing'"
        assert await conn.fetchval(calls) == len(pairings)
    assert await differing(core.pool, patient_id) == []


async def test_who_deletes_a_pairing_waits_for_who_gathers_it_for_the_first_time(core: Core) -> None:
    """Otherwise the row of a deleted pairing would come back."""
    patient_id = uuid4()
    (pairing_no,) = await made(core.pool, patient_id, 1)
    await core.pool.execute("DELETE FROM standing WHERE patient_id = $1", patient_id)
    async with core.pool.acquire() as first, core.pool.acquire() as other:
        transaction = first.transaction()
        await transaction.start()
        await first.execute("SELECT gather_standing($1, $2)", patient_id, pairing_no)
        deleting = asyncio.ensure_future(other.execute("DELETE FROM pairing WHERE patient_id = $1", patient_id))
        await asyncio.wait([deleting], timeout=0.2)
        await transaction.commit()
        await deleting
    assert await differing(core.pool, patient_id) == []
    assert await core.pool.fetchval("SELECT count(*) FROM standing WHERE patient_id = $1", patient_id) == 0


async def test_who_gathers_later_sees_what_was_committed_while_it_waited(core: Core) -> None:
    """A grant is given while a consent is withdrawn; whichever ends first, the row lacks what was withdrawn."""
    give, withdraw = CHANGES[1], CHANGES[2]
    for order in ((0, 1), (1, 0)):
        patient_id = uuid4()
        (pairing_no,) = await made(core.pool, patient_id, 1)
        row = (patient_id, pairing_no, URLS[0], 5)
        await core.pool.execute(CHANGES[0], *row)
        async with core.pool.acquire() as one, core.pool.acquire() as other:
            for conn, statement in ((one, give), (other, withdraw)):
                await conn.execute("BEGIN")
                await conn.execute(statement, *row)
            first, second = ((one, other)[at] for at in order)
            await first.execute("SET CONSTRAINTS ALL IMMEDIATE")  # gathered, but not committed yet
            waiting = asyncio.ensure_future(second.execute("COMMIT"))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            await first.execute("COMMIT")
            await waiting
        found = await core.pool.fetchval("SELECT grants FROM standing WHERE patient_id = $1", patient_id)
        assert list(found.values()) == [{}]


async def test_a_pairing_that_was_not_gathered_yet_is_served_all_the_same(body: Body, pair: Pair, clock: Clock) -> None:
    _, _, chunks = await body.cgm()
    diga = await pair(CGM)
    pool = diga.core.pool
    for path in ("Observation", f"Observation/{chunks[0]}"):
        await pool.execute("DELETE FROM standing WHERE patient_id = $1", body.patient_id)
        clock.advance(16 * MINUTE // 1000)
        diga.token = diga.signed()
        assert (await diga.get(path)).status_code == 200
    await pool.execute("UPDATE consent SET withdrawn_ms = 1 WHERE patient_id = $1", body.patient_id)
    diga.token = diga.signed()
    assert (await diga.get("Observation")).status_code == 401
    assert await differing(pool, body.patient_id) == [], "what was changed was gathered"


async def test_what_is_missing_is_gathered_and_what_is_wrong_is_told(
    core: Core, caplog: pytest.LogCaptureFixture
) -> None:
    """Missing rows as after an upgrade, wrong ones as after writes without triggers, and one of a deleted pairing."""
    caplog.set_level("INFO")
    pool, check = core.pool, Standings().check
    patient_ids = [uuid4() for _ in range(5)]
    for patient_id in patient_ids:
        (pairing_no,) = await made(pool, patient_id, 1)
        for statement in CHANGES[:2]:
            await pool.execute(statement, patient_id, pairing_no, URLS[0], 5)
    assert await check(pool) == 0
    caplog.clear()
    assert (await check(pool), caplog.messages) == (0, [])
    await pool.execute("DELETE FROM standing WHERE patient_id = ANY ($1)", patient_ids)
    assert await check(pool, step=2) == 0
    while not any(message == "standing.gathered" for message in caplog.messages):
        await check(pool, step=2)
    assert await check(pool) == 0
    assert [await differing(pool, one) for one in patient_ids] == [[]] * 5
    async with pool.acquire() as conn, conn.transaction():
        for table in ("consent", "pairing"):
            await conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await conn.execute("UPDATE consent SET withdrawn_ms = 9 WHERE patient_id = $1", patient_ids[0])
        await conn.execute("DELETE FROM pairing WHERE patient_id = $1", patient_ids[1])
        await conn.execute("UPDATE standing SET client_id = '' WHERE patient_id = $1", patient_ids[2])
        await conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in ("consent", "pairing"):
            await conn.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
            await conn.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER standing_{table}")
    assert await check(pool) == 3
    assert [record.__dict__["count"] for record in caplog.records if record.message == "standing.wrong"] == [3]
    assert [await differing(pool, one) for one in patient_ids] == [[]] * 5
    assert await check(pool) == 0


@pytest.mark.parametrize("trigger", GATHERING)
async def test_nothing_stays_gathered_while_a_trigger_is_off(
    core: Core, caplog: pytest.LogCaptureFixture, trigger: str
) -> None:
    """As after an interrupted restore of data. Otherwise what is withdrawn then would be valid when its turn comes."""
    patient_id, check = uuid4(), Standings().check
    (pairing_no,) = await made(core.pool, patient_id, 1)
    for statement in CHANGES[:2]:
        await core.pool.execute(statement, patient_id, pairing_no, URLS[0], 5)
    kept = "SELECT grants FROM standing WHERE patient_id = $1"
    of_table = f"ALTER TABLE {UNFIT_TRIGGERS[trigger].table}"
    await core.pool.execute(f"{of_table} DISABLE TRIGGER {trigger}")
    for _ in range(2):
        await check(core.pool)
        assert await core.pool.fetchval(kept, patient_id) is None
    assert "standing.not_kept" in caplog.messages
    await core.pool.execute(f"{of_table} ENABLE ALWAYS TRIGGER {trigger}")
    assert await check(core.pool) == 0
    assert list((await core.pool.fetchval(kept, patient_id)).values()) == [{URLS[0]: 1005}]


async def test_what_is_wrong_is_told_though_it_cannot_be_mended(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    patient_id = uuid4()
    await made(core.pool, patient_id, 1)
    await core.pool.execute("UPDATE standing SET client_id = '' WHERE patient_id = $1", patient_id)
    locked = asyncpg.LockNotAvailableError
    with patch.object(Pool, "execute", side_effect=locked), pytest.raises(locked):
        await Standings().check(core.pool)
    assert "standing.wrong" in caplog.messages


async def test_what_is_missing_takes_no_whole_round(core: Core) -> None:
    """After an upgrade other steps of a round get their turn, however many rows are missing; the next one continues."""
    pool, standings, patient_ids = core.pool, Standings(), [uuid4() for _ in range(5)]
    for patient_id in patient_ids:
        await made(pool, patient_id, 1)
    await pool.execute("DELETE FROM standing")
    there, before = await pool.fetchval("SELECT count(*) FROM pairing"), 0
    for _ in range(there // 2 + 1):
        assert await standings.check(pool, step=2, seconds=0) == 0
        rows = await pool.fetchval("SELECT count(*) FROM standing")
        assert rows - before <= 2
        before = rows
    assert [await differing(pool, one) for one in patient_ids] == [[]] * 5


async def test_all_pairings_are_compared_one_part_after_the_other(core: Core) -> None:
    for _ in range(3):
        await made(core.pool, uuid4(), 1)
    await Standings().check(core.pool)
    there = await core.pool.fetchval("SELECT count(*) FROM pairing")
    standings, seen = Standings(), []
    fetch = Pool.fetch

    async def noted(self: Pool, *arguments: Any) -> Any:
        rows = await fetch(self, *arguments)
        seen.append([(row["patient_id"], row["pairing_no"]) for row in rows])
        return rows

    with patch.object(Pool, "fetch", noted):
        for _ in range(2 * (there // 2 + 1)):
            await standings.check(core.pool, step=2)
    half = [one for part in seen[: there // 2 + 1] for one in part]
    assert len(half) == len(set(half)) == there
    assert [one for part in seen[there // 2 + 1 :] for one in part] == half


async def test_what_decides_is_one_row(core: Core) -> None:
    """Besides, the statement reads the patient's clock, the last responses, and restores."""
    arguments = "'x'", "1", "'x'", "1", "ARRAY['x']", "NULL::bigint", "ARRAY['x']", "ARRAY[1]", "true", "1"
    for statement in (access.ADMIT, access.ADMIT_AND_CLAIM):
        for at in range(len(arguments), 0, -1):
            statement = statement.replace(f"${at}", f"({arguments[at - 1]})")
        plan = await core.pool.fetchval(f"EXPLAIN (FORMAT JSON) {statement}")
        text = plan if isinstance(plan, str) else orjson.dumps(plan).decode()
        tables = {name.split('"')[0] for name in text.replace(" ", "").split('"RelationName":"')[1:]}
        assert tables == {"standing", "patient", "grace", "restore_window"}
