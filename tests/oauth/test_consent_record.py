"""The proof of consent: written by the database with every change, append-only, deleted only with the patient."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from ddr.http.core import Core
from ddr.operations.pairing import approve
from ddr.store.authorization.consents import Shown
from ddr.store.authorization.pairings import alive
from ddr.store.authorization.restore import shorten_consents
from ddr.store.authorization.unpairing import Party, unpair, unpair_expired, withdraw
from ddr.store.database.pool import connect
from ddr.store.patients.erasure import delete_patient
from tests.oauth.backend import DigaBackend, answer
from tests.support.citus import be_as_if_spread, one_server_only
from tests.support.clock import Clock
from tests.support.database import migrated_database
from tests.support.proofs import records
from tests.support.waiting import waiting

DAY_MS = 86_400_000
SHOWN = Shown("de", "1a2b3c", "Welche Daten darf Eins lesen?")


async def number(core: Core, patient_id: UUID) -> int:
    return (await alive(core.pool, patient_id, core.clock()))[0].pairing_no


async def acts(core: Core, patient_id: UUID) -> list[tuple[Any, ...]]:
    rows = await records(core.pool, patient_id)
    return [(row["act"], row["miv_url"], row["at_ms"], row["until_ms"], row["ended_by"], row["reason"]) for row in rows]


@pytest.mark.requirement("PRIV-008", "CON-003", "CON-008")
async def test_it_tells_who_agreed_to_what_until_when_and_how_it_ended(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    one, two = diga.scopes.valuesets
    given_ms, until_ms = clock(), clock() + 90 * DAY_MS
    await approve(core, await diga.request_uri(), patient_id, {one, two}, until_ms, SHOWN)
    clock.advance(60)
    shorter_ms = clock() + DAY_MS
    await approve(core, await diga.request_uri(), patient_id, {one}, shorter_ms, SHOWN)
    again_ms = clock()
    clock.advance(60)
    await withdraw(core.pool, patient_id, await number(core, patient_id), two, clock())
    withdrawn_ms = clock()
    clock.advance(86_400)
    await unpair_expired(core.pool, clock())
    assert await acts(core, patient_id) == [
        ("given", one, given_ms, until_ms, None, None),
        ("given", two, given_ms, until_ms, None, None),
        ("shortened", one, again_ms, shorter_ms, None, None),
        ("given", one, again_ms, shorter_ms, None, None),
        ("ended", two, withdrawn_ms, until_ms, "patient", "consent-withdrawn"),
        ("ended", one, clock(), shorter_ms, "system", "consent-ended"),
        ("ended", one, clock(), shorter_ms, "system", "consent-ended"),
    ]
    for row in await records(core.pool, patient_id):
        assert (row["client_id"], row["language"], row["version"]) == (diga.diga.client_id, "de", SHOWN.version)
        assert row["content"] == SHOWN.content and len(row["pairing_id"]) == 64
    trail = await core.pool.fetchrow("SELECT * FROM audit WHERE patient_id = $1 ORDER BY audit_no", patient_id)
    assert trail["detail"] == {
        "scope": diga.scopes.text,
        "until_ms": until_ms,
        "language": "de",
        "version": SHOWN.version,
        "text": SHOWN.digest.hex(),
    }


async def test_a_text_that_is_known_is_not_written_again(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    """Where patients are spread the text is on all servers: each consent would wait for everybody else's."""
    valuesets = diga.diga.valuesets
    await approve(core, await diga.request_uri(), patient_id, valuesets, None, SHOWN)
    async with core.pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE consent_text IN SHARE MODE")  # a writer waits, a reader does not
        location = await approve(core, await diga.request_uri(), patient_id, valuesets, None, SHOWN)
    assert location is not None and "code" in answer(location)
    assert {row["content"] for row in await records(core.pool, patient_id)} == {SHOWN.content}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE consent_record SET until_ms = 0",
        pytest.param("DELETE FROM consent_record WHERE patient_id = $1", marks=one_server_only),
        "TRUNCATE consent_record",
        "UPDATE consent_text SET content = ''",
        "DELETE FROM consent_text",
        "UPDATE consent SET withdrawn_ms = NULL WHERE patient_id = $1",
        "UPDATE consent SET until_ms = until_ms + 1 WHERE patient_id = $1",
        "UPDATE consent SET miv_url = 'https://other' WHERE patient_id = $1",
        "UPDATE token_grant SET revoked_ms = NULL WHERE patient_id = $1",
        "UPDATE token_grant SET consent_nos = consent_nos || 1::bigint WHERE patient_id = $1",
        "UPDATE pairing SET ended_ms = NULL WHERE patient_id = $1",
    ],
)
async def test_the_database_takes_nothing_back(core: Core, diga: DigaBackend, patient_id: UUID, statement: str) -> None:
    await approve(core, await diga.request_uri(), patient_id, diga.diga.valuesets, None, SHOWN)
    await unpair(core.pool, patient_id, await number(core, patient_id), Party.DIGA, "revoked", core.clock())
    before = await records(core.pool, patient_id)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await core.pool.execute(statement, *([patient_id] if "$1" in statement else []))
    assert await records(core.pool, patient_id) == before


async def test_it_goes_with_the_patient(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    await approve(core, await diga.request_uri(), patient_id, diga.diga.valuesets)
    assert len(await records(core.pool, patient_id)) == 2
    assert await delete_patient(core.pool, patient_id, core.clock())
    assert await records(core.pool, patient_id) == []


async def test_a_restore_waits_for_who_changes_the_consents_of_a_pairing(
    core: Core, diga: DigaBackend, patient_id: UUID
) -> None:
    """Otherwise each may hold a consent that the other one wants, and a withdrawal would end in a deadlock."""
    await approve(core, await diga.request_uri(), patient_id, diga.diga.valuesets)
    async with core.pool.acquire() as holding, holding.transaction():
        pairing_id = await holding.fetchval(
            "SELECT pairing_id FROM pairing WHERE patient_id = $1 FOR UPDATE", patient_id
        )
        kinds, now_ms = diga.diga.valuesets, core.clock()
        shortening = asyncio.create_task(
            shorten_consents(core.pool, pairing_id, kinds, now_ms + DAY_MS, now_ms, (), (None, None))
        )
        while not await waiting(core.pool):
            assert not shortening.done()
            await asyncio.sleep(0.01)
    assert await shortening


@one_server_only
async def test_where_statements_write_the_proof_a_restore_shortens_with_it_or_not_at_all(database_url: str) -> None:
    """What has been replayed is not repeated: the proof would then be missing for ever."""
    whose, pairing, valueset = UUID(int=7), "ab" * 32, "https://valueset.example"
    async with migrated_database(database_url) as url:
        await be_as_if_spread(url)
        async with await connect(url, 2) as pool:
            pool.servers.spread = True
            await pool.execute(
                f"""INSERT INTO patient (patient_id, created_ms) VALUES ('{whose}', 1);
                    INSERT INTO pairing (patient_id, pairing_no, pairing_id, client_id, salt, created_ms)
                    VALUES ('{whose}', 3, '{pairing}', 'urn:diga', '', 1);
                    INSERT INTO pairing_directory (pairing_id, patient_id, pairing_no)
                    VALUES ('{pairing}', '{whose}', 3);
                    INSERT INTO consent (patient_id, pairing_no, miv_url, granted_ms, until_ms)
                    VALUES ('{whose}', 3, '{valueset}', 1, 90);
                    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'injected'; END $$;
                    CREATE TRIGGER fail BEFORE INSERT ON consent_record EXECUTE FUNCTION fail()"""
            )
            for broken in (True, False):
                with pytest.raises(asyncpg.RaiseError) if broken else nullcontext():
                    assert await shorten_consents(pool, pairing, [valueset], 50, 20, (), (None, None))
                assert await pool.fetchval("SELECT until_ms FROM consent") == (90 if broken else 50)
                await pool.execute("DROP TRIGGER IF EXISTS fail ON consent_record")
            assert [(row["act"], row["until_ms"]) for row in await records(pool, whose)] == [("shortened", 50)]
