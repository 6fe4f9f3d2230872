"""The end of a pairing by patient or system: all of it at once, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from ddr.http.core import Core
from ddr.operations.pairing import approve
from ddr.store.authorization.openings import Served, open_up
from ddr.store.authorization.pairings import alive
from ddr.store.authorization.unpairing import Party, lose, unpair, unpair_client, unpair_expired, withdraw
from ddr.store.patients.erasure import delete_patient
from tests.oauth.backend import DigaBackend, events, stands
from tests.support.clock import Clock

DAY_MS = 86_400_000
TABLES = ("pairing", "consent", "token_grant", "opening", "grace")


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


async def all_of(core: Core, patient_id: UUID, no: int) -> list[Any]:
    """Everything that is stored about a pairing."""
    text = "SELECT t::text FROM {} t WHERE patient_id = $1 AND pairing_no = $2 ORDER BY 1"
    return [await core.pool.fetch(text.format(table), patient_id, no) for table in TABLES]


async def agrees_for_a_day(core: Core, diga: DigaBackend, patient_id: UUID, no: int) -> None:
    assert await approve(core, await diga.request_uri(), patient_id, diga.diga.valuesets, core.clock() + DAY_MS)


async def withdraws_a_kind(core: Core, diga: DigaBackend, patient_id: UUID, no: int) -> None:
    assert await withdraw(core.pool, patient_id, no, diga.scopes.valuesets[0], core.clock())


async def loses_a_kind(core: Core, diga: DigaBackend, patient_id: UUID, no: int) -> None:
    assert await lose(core.pool, diga.diga.client_id, diga.scopes.valuesets[0], core.clock()) == 1


async def ends(core: Core, diga: DigaBackend, patient_id: UUID, no: int) -> None:
    assert await unpair(core.pool, patient_id, no, Party.PATIENT, "withdrawn", core.clock())


async def is_gone(core: Core, diga: DigaBackend, patient_id: UUID, no: int) -> None:
    assert await unpair_client(core.pool, diga.diga.client_id, "diga-retired", core.clock()) == 1


async def sees_more(core: Core, diga: DigaBackend, patient_id: UUID, no: int) -> None:
    await open_up(core.pool, patient_id, no, {diga.scopes.valuesets[0]: Served(60, 0)}, core.clock())


Act = Callable[[Core, DigaBackend, UUID, int], Awaitable[None]]


@pytest.mark.parametrize("act", [agrees_for_a_day, withdraws_a_kind, loses_a_kind, ends, is_gone, sees_more])
async def test_what_happens_to_one_pairing_leaves_the_others_of_the_patient_as_they_were(
    core: Core, diga: DigaBackend, other: DigaBackend, patient_id: UUID, act: Act
) -> None:
    await other.pair(patient_id)
    await diga.pair(patient_id)
    two, one = await numbers(core, patient_id)
    for no in (one, two):
        await open_up(core.pool, patient_id, no, {diga.scopes.valuesets[0]: Served(30, 0)}, core.clock())
    own, others = await all_of(core, patient_id, one), await all_of(core, patient_id, two)
    told = await events(core, other.diga)
    await act(core, diga, patient_id, one)
    assert await all_of(core, patient_id, one) != own
    assert await all_of(core, patient_id, two) == others
    assert await events(core, other.diga) == told


@pytest.mark.parametrize("longer", [False, True])
async def test_a_kind_of_data_ends_with_its_last_consent(
    core: Core, diga: DigaBackend, other: DigaBackend, patient_id: UUID, clock: Clock, longer: bool
) -> None:
    """A consent to the other kind continues, and so does the pairing; with `longer` so does one to this kind."""
    kind, kept = diga.scopes.valuesets
    await approve(core, await diga.request_uri(), patient_id, {kind}, clock() + DAY_MS)
    await approve(core, await diga.request_uri(), patient_id, {kind, kept} if longer else {kept})
    await other.pair(patient_id)
    one, two = await numbers(core, patient_id)
    others = await all_of(core, patient_id, two)
    clock.advance(86_400)
    await unpair_expired(core.pool, clock())
    ended = "SELECT withdrawn_ms FROM consent WHERE patient_id = $1 AND pairing_no = $2 ORDER BY consent_no"
    went_on = [None, None] if longer else [None]
    assert [row["withdrawn_ms"] for row in await core.pool.fetch(ended, patient_id, one)] == [clock(), *went_on]
    assert (await events(core, diga.diga)).count("system:consent:ended") == (not longer)
    assert await all_of(core, patient_id, two) == others
