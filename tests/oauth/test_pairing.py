"""The patient's decision: what it records, what it returns, and the life of a Pairing ID."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import pytest

from ddr.http.core import Core
from ddr.operations.pairing import approve, refuse
from ddr.store.authorization.openings import TYPES, Served, open_up
from ddr.store.authorization.pairings import alive
from ddr.store.authorization.unpairing import Party, unpair, withdraw
from tests.oauth.backend import STATE, DigaBackend, answer, events
from tests.support.clock import Clock
from tests.support.trust import FakeTrust

YEAR_MS = 365 * 86_400_000


async def pairing_no(core: Core, patient_id: UUID) -> int:
    pairings = await alive(core.pool, patient_id, core.clock())
    return pairings[0].pairing_no


async def test_agreement_leads_back_with_code_state_and_issuer(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    location = await approve(core, await diga.request_uri(), patient_id, diga.diga.valuesets)
    assert location is not None and location.startswith(diga.diga.redirect_uri + "?")
    assert answer(location).keys() == {"code", "state", "iss"}
    assert answer(location)["state"] == STATE and answer(location)["iss"] == core.settings.public_base_url


async def test_consent_is_recorded_before_the_redirect(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    chosen = diga.scopes.valuesets[0]
    await approve(core, await diga.request_uri(), patient_id, {chosen})
    (pairing,) = await alive(core.pool, patient_id, core.clock())
    assert [consent.valueset for consent in pairing.consents] == [chosen]
    assert await events(core, diga.diga) == ["patient:pairing:granted"]
    trail = await core.pool.fetchrow("SELECT * FROM audit WHERE patient_id = $1", patient_id)
    assert trail["pairing_id"] == pairing.pairing_id


async def test_consent_lasts_a_year_at_most(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    now = core.clock()
    for wish, until_ms in ((None, now + YEAR_MS), (now + 5_000, now + 5_000), (now + 2 * YEAR_MS, now + YEAR_MS)):
        await approve(core, await diga.request_uri(), patient_id, diga.diga.valuesets, wish)
        (pairing,) = await alive(core.pool, patient_id, now)
        assert {consent.until_ms for consent in pairing.consents} == {until_ms}


async def test_refusal_leads_back_without_code(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    location = await refuse(core, await diga.request_uri(), patient_id)
    assert location is not None
    assert answer(location)["error"] == "access_denied" and answer(location)["state"] == STATE
    assert "code" not in answer(location)
    assert await alive(core.pool, patient_id, core.clock()) == []
    assert await events(core, diga.diga) == ["patient:pairing:denied"]


@pytest.mark.parametrize("chosen", [set(), {"https://gematik.de/fhir/hddt/ValueSet/hddt-miv-lung-function-testing"}])
async def test_agreeing_to_nothing_that_was_asked_is_a_refusal(
    core: Core, diga: DigaBackend, patient_id: UUID, chosen: set[str]
) -> None:
    location = await approve(core, await diga.request_uri(), patient_id, chosen)
    assert location is not None and answer(location)["error"] == "access_denied"


@pytest.mark.parametrize("change", [{"active": False}, {"valuesets": frozenset()}])
async def test_a_diga_that_lost_its_permission_meanwhile_gets_nothing(
    core: Core, diga: DigaBackend, trust: FakeTrust, patient_id: UUID, change: dict[str, object]
) -> None:
    handle = await diga.request_uri()
    trust.add(replace(diga.diga, **change))  # type: ignore[arg-type]
    location = await approve(core, handle, patient_id, diga.diga.valuesets)
    assert location is not None and answer(location)["error"] == "access_denied"


async def test_a_request_is_decided_once(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    handle = await diga.request_uri()
    answers = await asyncio.gather(
        *(approve(core, handle, patient_id, diga.diga.valuesets) for _ in range(8)), refuse(core, handle, patient_id)
    )
    assert sum(location is not None for location in answers) == 1
    assert await approve(core, handle, patient_id, diga.diga.valuesets) is None
    assert await refuse(core, handle, patient_id) is None


@pytest.mark.parametrize(("query", "joint"), [("?tenant=1", "&"), ("?", "")])
async def test_a_redirect_uri_with_a_query_keeps_it(
    core: Core, diga: DigaBackend, trust: FakeTrust, patient_id: UUID, query: str, joint: str
) -> None:
    address = f"https://a.example/cb{query}"
    backend = DigaBackend(core, replace(diga.diga, redirect_uri=address), diga.certificate)
    trust.add(backend.diga)
    location = await refuse(core, await backend.request_uri(), patient_id)
    assert location is not None and location.startswith(f"{address}{joint}error=")
    assert urlsplit(location).fragment == ""


@pytest.fixture
async def broken_pairing(core: Core) -> AsyncIterator[None]:
    """No pairing can be created."""
    await core.pool.execute(
        """
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'injected'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON pairing EXECUTE FUNCTION fail();
        """
    )
    yield
    await core.pool.execute("DROP FUNCTION fail CASCADE")


@pytest.mark.requirement("AUD-001")
@pytest.mark.usefixtures("broken_pairing")
async def test_a_failure_is_told_in_the_words_of_the_specification(
    core: Core, diga: DigaBackend, patient_id: UUID
) -> None:
    location = await approve(core, await diga.request_uri(), patient_id, diga.diga.valuesets)
    assert location is not None
    assert answer(location) == {
        "error": "server_error",
        "error_description": "Failed to generate pairing identifier",
        "state": STATE,
        "iss": core.settings.public_base_url,
    }
    assert await events(core, diga.diga) == ["system:pairing:failed"]


async def test_the_pairing_id_is_a_pseudonym_of_patient_and_diga(
    core: Core, diga: DigaBackend, other: DigaBackend, patient_id: UUID
) -> None:
    someone = uuid4()
    await core.pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", someone)
    ids = [
        (await diga.pair(patient_id))["sub"],
        (await other.pair(patient_id))["sub"],
        (await diga.pair(someone))["sub"],
    ]
    assert len(set(ids)) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", pairing_id) for pairing_id in ids)


async def test_it_stays_when_kinds_of_data_are_added(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    one, two = diga.scopes.valuesets
    first, second = await diga.pair(patient_id, {one}), await diga.pair(patient_id, {two})
    assert first["sub"] == second["sub"]
    assert (first["scope"], second["scope"]) == (diga.scopes.within({one}).text, diga.scopes.within({two}).text)
    (pairing,) = await alive(core.pool, patient_id, core.clock())
    assert {consent.valueset for consent in pairing.consents} == {one, two}
    assert (await diga.refresh(first["refresh_token"])).json()["scope"] == first["scope"]


async def test_concurrent_decisions_found_one_pairing(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    handles = [await diga.request_uri() for _ in range(6)]
    await asyncio.gather(*(approve(core, handle, patient_id, diga.diga.valuesets) for handle in handles))
    assert len(await alive(core.pool, patient_id, core.clock())) == 1


async def test_it_is_new_after_unpairing(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    first = await diga.pair(patient_id)
    assert await unpair(core.pool, patient_id, await pairing_no(core, patient_id), Party.PATIENT, "test", core.clock())
    assert (await diga.pair(patient_id))["sub"] != first["sub"]


async def test_it_is_new_after_the_consent_has_run_out(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    first = await diga.pair(patient_id)
    clock.advance(YEAR_MS / 1000)
    assert (await diga.pair(patient_id))["sub"] != first["sub"]
    assert "system:pairing:ended" in await events(core, diga.diga)


async def test_the_trail_holds_nothing_that_identifies(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    content = await diga.pair(patient_id)
    rows = await core.pool.fetch("SELECT event, client_id, pairing_id, detail FROM audit WHERE client_id = $1",
                                 diga.diga.client_id)  # fmt: skip
    text = repr([dict(row) for row in rows])
    assert str(patient_id) not in text
    assert content["refresh_token"] not in text and content["access_token"] not in text


async def test_a_decision_that_meets_a_lost_database_may_be_repeated(
    core: Core, diga: DigaBackend, patient_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        raise asyncpg.ConnectionDoesNotExistError

    request_uri = await diga.request_uri()
    with monkeypatch.context() as once, pytest.raises(asyncpg.ConnectionDoesNotExistError):
        once.setattr("ddr.operations.pairing.decide", lost)
        await approve(core, request_uri, patient_id, diga.diga.valuesets)
    location = await approve(core, request_uri, patient_id, diga.diga.valuesets)
    assert location is not None and "code" in answer(location)


async def test_what_a_diga_could_not_see_before_is_noted_as_new_to_it_and_nothing_else(
    core: Core, diga: DigaBackend, other: DigaBackend, patient_id: UUID
) -> None:
    """A kind that was withdrawn meanwhile, and everything after an ended pairing; otherwise a poller misses it."""
    kind, kept = diga.scopes.valuesets

    async def newest() -> int:
        pairings = await alive(core.pool, patient_id, core.clock())
        return pairings[-1].pairing_no

    async def noted() -> dict[str, int | None]:
        text = "SELECT kind, opened_ms FROM opening WHERE patient_id = $1 AND pairing_no = $2"
        return {row["kind"]: row["opened_ms"] for row in await core.pool.fetch(text, patient_id, await newest())}

    await other.pair(patient_id)  # what another DiGA may see says nothing about this one
    await diga.pair(patient_id)
    assert await noted() == {}
    no = await newest()
    await open_up(core.pool, patient_id, no, dict.fromkeys((kind, kept), Served(30, 0)), core.clock())
    await diga.pair(patient_id)
    assert await noted() == {kind: 0, kept: 0}
    assert await withdraw(core.pool, patient_id, no, kind, core.clock())
    await diga.pair(patient_id)
    assert await noted() == {kind: None, kept: 0}
    assert await unpair(core.pool, patient_id, no, Party.PATIENT, "withdrawn", core.clock())
    await diga.pair(patient_id)
    assert await noted() == dict.fromkeys((kind, kept, *TYPES))
