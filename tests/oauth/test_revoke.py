"""Revocation: the DiGA ends the pairing; the response is always 200."""

from __future__ import annotations

from uuid import UUID

import pytest

from ddr.http.core import Core
from ddr.store.audit.trail import NOBODY
from tests.oauth.backend import DigaBackend, events, stands
from tests.support.clock import Clock


@pytest.mark.parametrize("name", ["refresh_token", "access_token"])
async def test_it_ends_every_artefact(core: Core, diga: DigaBackend, patient_id: UUID, name: str) -> None:
    first, second = await diga.pair(patient_id), await diga.pair(patient_id)
    response = await diga.revoke(first[name])
    assert (response.status_code, response.content) == (200, b"")
    for content in (first, second):
        assert not await stands(core, content["access_token"])
        assert (await diga.refresh(content["refresh_token"])).json()["error"] == "invalid_grant"
    consents = await core.pool.fetch("SELECT withdrawn_ms FROM consent WHERE patient_id = $1", patient_id)
    assert consents and all(row["withdrawn_ms"] is not None for row in consents)
    assert (await events(core, diga.diga)).count("diga:pairing:ended") == 1


async def test_a_repetition_a_random_and_a_changed_token_have_no_effect(
    core: Core, diga: DigaBackend, patient_id: UUID
) -> None:
    kept = await diga.pair(patient_id)
    changed = ("A" if kept["refresh_token"][0] != "A" else "B") + kept["refresh_token"][1:]
    for token in ("random", changed, kept["access_token"][:-8] + "AAAAAAAA"):
        response = await diga.revoke(token)
        assert (response.status_code, response.content) == (200, b"")
    assert await stands(core, kept["access_token"])
    for _ in range(2):
        assert (await diga.revoke(kept["refresh_token"])).status_code == 200


async def test_a_token_of_another_client_has_no_effect(
    core: Core, diga: DigaBackend, other: DigaBackend, patient_id: UUID
) -> None:
    content = await diga.pair(patient_id)
    assert (await other.revoke(content["refresh_token"])).status_code == 200
    assert await stands(core, content["access_token"])


@pytest.mark.parametrize("name", ["refresh_token", "access_token"])
async def test_the_entry_of_a_refused_revocation_names_whose_token_it_was(
    core: Core, diga: DigaBackend, other: DigaBackend, patient_id: UUID, name: str
) -> None:
    """The patient and an auditor see what was tried; an entry for a token that names nothing names nobody."""
    content = await diga.pair(patient_id)
    for token in (content[name], "random"):
        await other.revoke(token)
    entries = await core.pool.fetch(
        "SELECT patient_id, pairing_id, detail ->> 'reason' AS reason FROM audit"
        " WHERE client_id = $1 AND event = 'diga:unpairing:refused' ORDER BY audit_no",
        other.diga.client_id,
    )
    assert [tuple(one) for one in entries] == [
        (patient_id, content["sub"], "token-not-of-this-client"),
        (NOBODY, None, "token-not-of-this-client"),
    ]


async def test_other_pairings_of_the_patient_stay(
    core: Core, diga: DigaBackend, other: DigaBackend, patient_id: UUID
) -> None:
    content, stays = await diga.pair(patient_id), await other.pair(patient_id)
    await diga.revoke(content["refresh_token"])
    assert await stands(core, stays["access_token"])


@pytest.mark.parametrize("days", [0, 31])
async def test_a_retired_or_expired_token_still_carries_the_wish(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock, days: int
) -> None:
    content = await diga.pair(patient_id)
    newer = (await diga.refresh(content["refresh_token"])).json()
    clock.advance(days * 86_400)
    await diga.revoke(content["refresh_token"])
    assert (await diga.refresh(newer["refresh_token"])).json()["error"] == "invalid_grant"
    assert "diga:pairing:ended" in await events(core, diga.diga)


async def test_an_old_token_does_not_end_a_new_pairing(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    old = await diga.pair(patient_id)
    await diga.revoke(old["refresh_token"])
    new = await diga.pair(patient_id)
    await diga.revoke(old["refresh_token"])
    assert new["sub"] != old["sub"]
    assert await stands(core, new["access_token"])


@pytest.mark.parametrize("hint", [None, "access_token", "nonsense"])
async def test_the_hint_is_only_a_hint(core: Core, diga: DigaBackend, patient_id: UUID, hint: str | None) -> None:
    content = await diga.pair(patient_id)
    await diga.revoke(content["refresh_token"], token_type_hint=hint)
    assert not await stands(core, content["access_token"])


async def test_the_token_is_required(core: Core, diga: DigaBackend) -> None:
    response = await diga.revoke(None)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")
    assert await events(core, diga.diga) == ["diga:unpairing:refused"]
