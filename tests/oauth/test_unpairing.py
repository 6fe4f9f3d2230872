"""The end of a pairing by patient and system: everything of it at once, nothing else."""

from __future__ import annotations

from uuid import UUID, uuid4

from ddr.http.core import Core
from ddr.store.authorization.pairings import alive
from ddr.store.authorization.unpairing import Party, unpair, unpair_client, unpair_expired, withdraw
from ddr.store.patients.erasure import delete_patient
from tests.oauth.backend import DigaBackend, events, stands
from tests.support.clock import Clock


async def numbers(core: Core, patient_id: UUID) -> list[int]:
    return [pairing.pairing_no for pairing in await alive(core.pool, patient_id, core.clock())]


async def test_the_patient_ends_one_pairing(
    core: Core, diga: DigaBackend, other: DigaBackend, patient_id: UUID
) -> None:
    ended, stays = await diga.pair(patient_id), await other.pair(patient_id)
    no = (await numbers(core, patient_id))[0]
    assert await unpair(core.pool, patient_id, no, Party.PATIENT, "withdrawn", core.clock())
    assert not await unpair(core.pool, patient_id, no, Party.PATIENT, "withdrawn", core.clock())
    assert not await stands(core, ended["access_token"])
    assert await stands(core, stays["access_token"])
    assert (await events(core, diga.diga)).count("patient:pairing:ended") == 1


async def test_another_patient_cannot_end_it(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    content = await diga.pair(patient_id)
    (no,) = await numbers(core, patient_id)
    assert not await unpair(core.pool, uuid4(), no, Party.PATIENT, "withdrawn", core.clock())
    assert await stands(core, content["access_token"])


async def test_the_last_withdrawal_ends_the_pairing(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    one, two = diga.scopes.valuesets
    content = await diga.pair(patient_id)
    (no,) = await numbers(core, patient_id)
    assert await withdraw(core.pool, patient_id, no, one, core.clock())
    assert not await withdraw(core.pool, patient_id, no, one, core.clock())
    assert await stands(core, content["access_token"])
    assert await withdraw(core.pool, patient_id, no, two, core.clock())
    assert not await stands(core, content["access_token"])
    assert not await withdraw(core.pool, patient_id, no, two, core.clock())
    assert (await events(core, diga.diga))[-3:] == [
        "patient:consent:withdrawn",
        "patient:consent:withdrawn",
        "patient:pairing:ended",
    ]


async def test_a_diga_that_is_gone_loses_all_its_pairings(
    core: Core, diga: DigaBackend, other: DigaBackend, patient_id: UUID
) -> None:
    someone = uuid4()
    await core.pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", someone)
    ended = [await diga.pair(patient_id), await diga.pair(someone)]
    stays = await other.pair(patient_id)
    assert await unpair_client(core.pool, diga.diga.client_id, "diga-retired", core.clock()) == 2
    assert await unpair_client(core.pool, diga.diga.client_id, "diga-retired", core.clock()) == 0
    assert [await stands(core, content["access_token"]) for content in ended] == [False, False]
    assert await stands(core, stays["access_token"])
    reason = await core.pool.fetchval("SELECT end_reason FROM pairing WHERE patient_id = $1", someone)
    assert reason == "diga-retired"


async def test_the_system_ends_what_has_run_out(core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock) -> None:
    await diga.pair(patient_id)
    await unpair_expired(core.pool, core.clock())
    assert await numbers(core, patient_id)
    clock.advance(365 * 86_400)
    assert await unpair_expired(core.pool, core.clock()) >= 1
    assert "system:pairing:ended" in await events(core, diga.diga)


async def test_a_patient_who_deletes_everything_leaves_nothing_to_a_diga(
    core: Core, diga: DigaBackend, patient_id: UUID
) -> None:
    content, code = await diga.pair(patient_id), await diga.code(patient_id)
    assert await delete_patient(core.pool, patient_id, core.clock())
    assert not await stands(core, content["access_token"])
    for response in (await diga.refresh(content["refresh_token"]), await diga.exchange(code)):
        assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert (await diga.revoke(content["refresh_token"])).status_code == 200
    assert "patient:pairing:ended" in await events(core, diga.diga)
