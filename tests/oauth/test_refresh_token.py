"""The refresh token grant: rotation, repetition, reuse, and the limits of consent."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock
from uuid import UUID, uuid4

import asyncpg
import pytest

from ddr.http.core import Core
from ddr.http.presence import BACK_MS
from ddr.oauth.grants import unanswered
from ddr.scopes.parse import DEVICE, scope_of
from ddr.store.authorization import rotations
from ddr.store.authorization.rotations import Rotate, rotate, rotate_all
from ddr.store.authorization.unpairing import withdraw
from ddr.store.outages import reports
from ddr.store.outages.notices import Notice
from tests.oauth.backend import Caller, DigaBackend, events, stands, verified_elsewhere
from tests.support.citus import not_over_servers, one_server_only
from tests.support.clock import Clock
from tests.support.counting import counted
from tests.support.trust import FakeTrust

DAY = 86_400


async def test_a_refresh_gives_new_tokens_for_the_same_patient(diga: DigaBackend, patient_id: UUID) -> None:
    first = await diga.pair(patient_id)
    response = await diga.refresh(first["refresh_token"])
    assert response.status_code == 200
    second = response.json()
    assert {second["sub"], second["scope"]} == {first["sub"], first["scope"]}
    assert second["refresh_token"] != first["refresh_token"]
    assert second["access_token"] != first["access_token"]


async def test_who_signed_a_token_knows_it_as_others_verify_it(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    first = await diga.pair(patient_id)
    for answer in (first, (await diga.refresh(first["refresh_token"])).json()):
        known = core.good_tokens.get(hashlib.sha256(answer["access_token"].encode()).digest())
        assert known is not None
        assert known == verified_elsewhere(core, answer["access_token"])


async def test_the_old_access_token_lives_on_until_it_expires(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    first = await diga.pair(patient_id)
    await diga.refresh(first["refresh_token"])
    assert await stands(core, first["access_token"])


async def test_a_repetition_within_seconds_gets_the_same_successor(
    diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    first = await diga.pair(patient_id)
    one = (await diga.refresh(first["refresh_token"])).json()
    clock.advance(diga.core.settings.refresh_repeat_seconds)
    two = (await diga.refresh(first["refresh_token"])).json()
    assert one["refresh_token"] == two["refresh_token"]
    assert (await diga.refresh(two["refresh_token"])).status_code == 200


async def test_concurrent_refreshes_all_get_the_same_successor(diga: DigaBackend, patient_id: UUID) -> None:
    first = await diga.pair(patient_id)
    answers = await asyncio.gather(*(diga.refresh(first["refresh_token"]) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    assert (await diga.refresh(answers[0].json()["refresh_token"])).status_code == 200


async def patients(core: Core, number: int) -> list[UUID]:
    """This many new ones."""
    made = [uuid4() for _ in range(number)]
    await core.pool.execute("INSERT INTO patient SELECT unnest($1::uuid[]), $2", made, core.clock())
    return made


@one_server_only
async def test_refreshes_at_once_are_judged_each_for_itself(core: Core, diga: DigaBackend) -> None:
    """Few statements serve them: the first refresh is alone, those that arrive meanwhile share one."""
    tokens = [await diga.pair(one) for one in await patients(core, 4)]
    assert (await diga.revoke(tokens[2]["refresh_token"])).status_code == 200
    for _ in range(2):  # the second time, as the pool has its connections then
        async with counted(core.pool) as statements:
            answers = await asyncio.gather(*(diga.refresh(one["refresh_token"]) for one in tokens))
        assert [answer.status_code for answer in answers] == [200, 200, 400, 200]
        successors = [answer.json() for answer in answers]
        for at in (0, 1, 3):
            assert successors[at]["sub"] == tokens[at]["sub"]
            assert successors[at]["refresh_token"] != tokens[at]["refresh_token"]
            tokens[at] = successors[at]
        assert (
            sum("token_grant" in one for one in statements) < 6
        )  # at worst one for each, and one that finds out why it failed


@not_over_servers
async def test_a_rotation_that_has_to_wait_holds_nobody_up(core: Core, diga: DigaBackend) -> None:
    """Of several simultaneous refreshes one meets a lock and one is not current: these are repeated one by one."""
    patient_ids = await patients(core, 3)
    for one in patient_ids:
        await diga.pair(one)
    held = "SELECT pairing_id, grant_no, refresh_sha256 FROM token_grant JOIN pairing USING (patient_id, pairing_no)"
    grants = [await core.pool.fetchrow(f"{held} WHERE patient_id = $1", one) for one in patient_ids]
    hashes = [grants[0]["refresh_sha256"], b"former", grants[2]["refresh_sha256"]]
    now_ms, client = core.clock(), (diga.diga.client_id, diga.diga.valuesets)
    rotations = [
        Rotate(grant["pairing_id"], grant["grant_no"], now_ms, presented, b"next %d" % at, now_ms, 9, b"own", *client)
        for at, (grant, presented) in enumerate(zip(grants, hashes, strict=True))
    ]
    async with core.pool.acquire() as conn, conn.transaction(), asyncio.timeout(30):
        await conn.execute("SELECT FROM token_grant WHERE patient_id = $1 FOR UPDATE", patient_ids[2])
        made = await rotate_all(core.pool, rotations)
    assert [one and one.pairing_id for one in made] == [grants[0]["pairing_id"], None, None]
    now = [
        await core.pool.fetchval("SELECT refresh_sha256 FROM token_grant WHERE patient_id = $1", one)
        for one in patient_ids
    ]
    assert now == [b"next 0", grants[1]["refresh_sha256"], grants[2]["refresh_sha256"]]
    assert await rotate_all(core.pool, rotations[2:]) != [None]


# Each condition, alone, that prevents the rotation: stored ones, with $2 as the latest time, and requested ones.
ENDED = {
    "grant revoked": "UPDATE token_grant SET revoked_ms = $2 WHERE patient_id = $1",
    "token ran out": "UPDATE token_grant SET refresh_expires_ms = $2 WHERE patient_id = $1",
    "pairing ended": "UPDATE pairing SET ended_ms = $2 WHERE patient_id = $1",
    "own consents withdrawn": "UPDATE consent SET withdrawn_ms = $2 WHERE patient_id = $1 AND consent_no ="
    " ANY (ARRAY(SELECT unnest(consent_nos) FROM token_grant WHERE patient_id = $1 ORDER BY grant_no LIMIT 2))",
    "consent ran out": "UPDATE consent SET until_ms = $2 WHERE patient_id = $1",
}
OTHERWISE: dict[str, dict[str, Any]] = {
    "another client": {"client_id": "urn:diga:another"},
    "another grant": {"grant_no": 0},
    "another pairing": {"pairing_id": "ab" * 32},
    "another token": {"presented_sha256": b"another"},
    "nothing that it may read": {"valuesets": ["https://not-consented.example"]},
}


@not_over_servers
@pytest.mark.parametrize("together", [False, True])
async def test_each_thing_that_has_ended_or_differs_keeps_a_token_from_being_rotated(
    core: Core, diga: DigaBackend, clock: Clock, together: bool
) -> None:
    cases = ["nothing", "one kind ends sooner", *ENDED, *OTHERWISE]
    patient_ids, asked = await patients(core, len(cases)), []
    for one in [*patient_ids, *patient_ids]:  # each has two grants
        await diga.pair(one)
    clock.advance(60)
    now_ms, client = clock(), (diga.diga.client_id, diga.diga.valuesets)
    grants = "SELECT pairing_id, g.* FROM token_grant g JOIN pairing USING (patient_id, pairing_no)"
    for one, case in zip(patient_ids, cases, strict=True):
        grant = await core.pool.fetchrow(f"{grants} WHERE patient_id = $1 ORDER BY grant_no", one)
        named = grant["pairing_id"], grant["grant_no"], now_ms, grant["refresh_sha256"]
        rotation = Rotate(*named, b"next" + one.bytes, now_ms, now_ms + DAY * 1000, b"own", *client)
        asked.append(rotation._replace(**OTHERWISE.get(case, {})))
        if case in ENDED:
            await core.pool.execute(ENDED[case], one, now_ms)
    kind = "UPDATE consent SET until_ms = $2 WHERE patient_id = $1 AND miv_url = $3"
    for url, until_ms in zip(diga.scopes.valuesets, (now_ms + 5, now_ms + 9), strict=True):
        await core.pool.execute(kind, patient_ids[1], until_ms, url)
    stored = f"{grants} WHERE patient_id = ANY ($1) ORDER BY array_position($1::uuid[], patient_id), grant_no"
    before = await core.pool.fetch(stored, patient_ids)
    async with core.pool.acquire() as conn:  # one by one on a connection
        made = await rotate_all(conn, asked) if together else [await rotate(conn, one) for one in asked]
    assert [case for case, one in zip(cases, made, strict=True) if one is not None] == cases[:2]
    after = await core.pool.fetch(stored, patient_ids)
    for at, ends_ms in ((0, now_ms + DAY * 1000), (1, now_ms + 9)):  # with the last consent, if that ends sooner
        row = after[2 * at]
        assert (row["refresh_sha256"], row["refresh_expires_ms"]) == (asked[at].successor_sha256, ends_ms)
    assert [after[1], *after[3:]] == [before[1], *before[3:]]


async def test_later_reuse_ends_the_family_and_only_that(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    stolen, untouched = await diga.pair(patient_id), await diga.pair(patient_id)
    successor = (await diga.refresh(stolen["refresh_token"])).json()
    clock.advance(core.settings.refresh_repeat_seconds + 1)
    assert (await diga.refresh(stolen["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await diga.refresh(successor["refresh_token"])).json()["error"] == "invalid_grant"
    assert not await stands(core, successor["access_token"])
    assert (await diga.refresh(untouched["refresh_token"])).status_code == 200
    assert "diga:refresh:reused" in await events(core, diga.diga)


async def test_the_seconds_are_those_in_which_the_recorder_could_be_asked(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    first = await diga.pair(patient_id)
    core.presence.seen(clock())
    one = (await diga.refresh(first["refresh_token"])).json()  # its response is lost, and then the database is away
    clock.advance(120)
    two = (await diga.refresh(first["refresh_token"])).json()  # before the recorder has noticed that it is back
    core.presence.seen(clock())
    three = (await diga.refresh(first["refresh_token"])).json()
    assert one["refresh_token"] == two["refresh_token"] == three["refresh_token"]
    assert (await diga.refresh(three["refresh_token"])).status_code == 200


@pytest.fixture
async def host(core: Core) -> AsyncIterator[str]:
    """A name that nobody else has."""
    name = str(uuid4())
    yield name
    await core.pool.execute("DELETE FROM worker_report WHERE host = $1", name)


async def test_a_client_whose_worker_was_killed_may_come_back_later(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock, host: str
) -> None:
    first, former = await diga.pair(patient_id), uuid4()
    await reports.write(core.pool, host, 1, clock(), [], run=former)
    clock.advance(3)
    one = (await diga.refresh(first["refresh_token"])).json()  # its response is lost with the worker
    for _ in range(2):  # and so is its successor's; the one after that is exchanged
        clock.advance(1)
        await reports.write(core.pool, host, 1, clock(), [], run=(successor := uuid4()))
    await reports.write(core.pool, host, 1, clock(), [], run=uuid4())
    await reports.leave(core.pool, host, 1, clock(), successor)
    clock.advance(900)
    two = (await diga.refresh(first["refresh_token"])).json()
    assert one["refresh_token"] == two["refresh_token"]
    assert (await diga.refresh(two["refresh_token"])).status_code == 200
    assert (await diga.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert "diga:refresh:reused" in await events(core, diga.diga)


async def test_nor_does_it_matter_that_the_whole_host_was_lost(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock, host: str
) -> None:
    first = await diga.pair(patient_id)
    await reports.write(core.pool, host, 1, clock(), [], run=uuid4())
    clock.advance(3)
    one = (await diga.refresh(first["refresh_token"])).json()
    clock.advance(900)
    assert (await diga.refresh(first["refresh_token"])).json()["refresh_token"] == one["refresh_token"]


async def test_a_loss_excuses_only_the_token_whose_answer_may_have_gone_with_it(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock, host: str
) -> None:
    """The token before it was answered long ago: whoever presents it has it from elsewhere."""
    first = await diga.pair(patient_id)
    one = (await diga.refresh(first["refresh_token"])).json()
    await reports.write(core.pool, host, 1, clock(), [], run=uuid4())
    clock.advance(3)
    await diga.refresh(one["refresh_token"])
    lost_ms = clock()
    clock.advance(900)
    assert await reports.lost_around(core.pool, lost_ms, clock())
    assert (await diga.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await diga.refresh(one["refresh_token"])).json()["error"] == "invalid_grant"
    assert "diga:refresh:reused" in await events(core, diga.diga)


async def test_a_worker_that_left_or_was_exchanged_is_not_lost(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock, host: str
) -> None:
    """A worker that is exchanged ends beside its successor."""
    first, run, successor = await diga.pair(patient_id), uuid4(), uuid4()
    for number in (1, 2):
        await reports.write(core.pool, host, number, clock(), [], run=run)
    await diga.refresh(first["refresh_token"])
    await reports.leave(core.pool, host, 1, clock(), run)
    for number, one in ((1, successor), (2, successor), (2, run), (2, successor)):
        await reports.write(core.pool, host, number, clock(), [], run=one)
    assert await reports.lost_around(core.pool, clock(), clock())
    await reports.leave(core.pool, host, 2, clock(), run)
    assert not await reports.lost_around(core.pool, clock(), clock())
    assert not any(one.gone for one in await reports.read(core.pool) if one.host == host)
    clock.advance(11)
    assert (await diga.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"


async def test_reuse_long_after_an_absence_ends_the_family(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    first = await diga.pair(patient_id)
    core.presence.seen(clock())
    await diga.refresh(first["refresh_token"])
    clock.advance(120)
    core.presence.seen(clock())
    for _ in range(BACK_MS // 1000 + core.settings.refresh_repeat_seconds + 1):
        clock.advance(1)
        core.presence.seen(clock())
    assert (await diga.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert "diga:refresh:reused" in await events(core, diga.diga)


async def test_nor_do_seconds_of_maintenance_count(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    first, (from_ms, until_ms) = await diga.pair(patient_id), (clock(), clock() + 3_600_000)
    told = ("Maintenance", "Wartung", "", "", "")
    closed = Notice("n", True, "unavailable", ["token"], from_ms, until_ms, *told, None, from_ms, from_ms)
    one = (await diga.refresh(first["refresh_token"])).json()
    core.notices.known = (closed,)
    clock.advance(3_601)
    assert (await diga.refresh(first["refresh_token"])).json()["refresh_token"] == one["refresh_token"]
    core.notices.known = (replace(closed, cancelled_ms=from_ms),)
    assert (await diga.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_client_that_hung_up_may_come_back_later(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    """The client had waited long enough, and polls again at its next turn: nobody received the successor."""
    first = await diga.pair(patient_id)
    await Caller(diga).hang_up_refresh(first["refresh_token"])
    await asyncio.gather(*unanswered._running)
    clock.advance(DAY)
    again = await diga.refresh(first["refresh_token"])
    assert again.status_code == 200, again.text
    clock.advance(DAY)
    assert (await diga.refresh(first["refresh_token"])).json()["refresh_token"] == again.json()["refresh_token"]
    assert (await diga.refresh(again.json()["refresh_token"])).status_code == 200
    assert (await diga.refresh(first["refresh_token"])).status_code == 400, "the successor was used"
    assert "diga:refresh:reused" in await events(core, diga.diga)


@pytest.mark.parametrize("scoped", [False, True])
async def test_a_rotation_whose_end_was_not_heard_may_be_repeated_later(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock, monkeypatch: pytest.MonkeyPatch, scoped: bool
) -> None:
    """The database is lost between commit and response: the DiGA gets 503, and polls again at its next turn."""
    first, rotate = await diga.pair(patient_id), rotations.rotate

    async def lost(*arguments: Any) -> None:
        assert await rotate(*arguments)
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    scope = {"scope": first["scope"]} if scoped else {}
    with monkeypatch.context() as away:
        away.setattr(rotations, "rotate", lost)
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):  # 503 to the DiGA (ddr.http.guard)
            await diga.refresh(first["refresh_token"], **scope)
        await asyncio.gather(*unanswered._running)
    clock.advance(DAY)
    again = await diga.refresh(first["refresh_token"])
    assert again.status_code == 200, again.text
    assert (await diga.refresh(again.json()["refresh_token"])).status_code == 200


async def test_a_database_that_is_away_gathers_no_work_without_end(
    core: Core, diga: DigaBackend, patient_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await diga.pair(patient_id)
    monkeypatch.setattr(unanswered, "MOST", 5)
    with monkeypatch.context() as away:
        for name in ("rotate", "let_repeat"):
            away.setattr(rotations, name, AsyncMock(side_effect=ConnectionRefusedError))
        for _ in range(10):
            with pytest.raises(ConnectionRefusedError):
                await diga.refresh(first["refresh_token"])
        running = list(unanswered._running)
        assert len(running) == 5
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_token_two_generations_old_is_reuse_at_once(diga: DigaBackend, patient_id: UUID) -> None:
    first = await diga.pair(patient_id)
    second = (await diga.refresh(first["refresh_token"])).json()
    third = (await diga.refresh(second["refresh_token"])).json()
    assert (await diga.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await diga.refresh(third["refresh_token"])).json()["error"] == "invalid_grant"


async def test_another_client_cannot_use_it_and_does_not_end_it(
    diga: DigaBackend, other: DigaBackend, patient_id: UUID
) -> None:
    first = await diga.pair(patient_id)
    assert (await other.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await diga.refresh(first["refresh_token"])).status_code == 200


@pytest.mark.parametrize("at", [0, 40, 85, 86, 87, -1])
async def test_one_changed_character_makes_it_invalid(diga: DigaBackend, patient_id: UUID, at: int) -> None:
    token = (await diga.pair(patient_id))["refresh_token"]
    for letter in "AB":
        changed = list(token)
        changed[at] = letter if token[at] != letter else "C"
        assert (await diga.refresh("".join(changed))).json()["error"] == "invalid_grant"
    assert (await diga.refresh(token)).status_code == 200


@pytest.mark.parametrize("token", ["x", "." * 130, "A" * 130, "ä", "A" * 86 + "." + "A" * 43])
async def test_anything_else_is_invalid(diga: DigaBackend, token: str) -> None:
    assert (await diga.refresh(token)).status_code == 400


async def test_it_lives_thirty_days_from_each_rotation(diga: DigaBackend, patient_id: UUID, clock: Clock) -> None:
    first = await diga.pair(patient_id)
    clock.advance(29 * DAY)
    second = (await diga.refresh(first["refresh_token"])).json()
    clock.advance(30 * DAY)
    assert (await diga.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"


async def test_consent_ends_it_at_last(diga: DigaBackend, patient_id: UUID, clock: Clock) -> None:
    token = (await diga.pair(patient_id))["refresh_token"]
    for _ in range(12):  # 348 days
        clock.advance(29 * DAY)
        token = (await diga.refresh(token)).json()["refresh_token"]
    clock.advance(17 * DAY)
    assert (await diga.refresh(token)).json()["error"] == "invalid_grant"


async def test_an_access_token_does_not_outlive_consent(diga: DigaBackend, patient_id: UUID, clock: Clock) -> None:
    token = (await diga.pair(patient_id))["refresh_token"]
    for _ in range(12):
        clock.advance(29 * DAY)
        token = (await diga.refresh(token)).json()["refresh_token"]
    clock.advance(17 * DAY - 60)
    assert (await diga.refresh(token)).json()["expires_in"] == 60


async def test_scopes_may_be_narrowed_and_come_back(diga: DigaBackend, patient_id: UUID) -> None:
    first = await diga.pair(patient_id)
    narrow = scope_of(diga.scopes.valuesets[0])
    second = (await diga.refresh(first["refresh_token"], scope=narrow)).json()
    assert second["scope"] == narrow
    assert (await diga.refresh(second["refresh_token"])).json()["scope"] == first["scope"]


async def test_scopes_cannot_be_widened(diga: DigaBackend, patient_id: UUID) -> None:
    chosen, declined = diga.scopes.valuesets
    first = await diga.pair(patient_id, {chosen})
    for scope in (diga.scopes.text, scope_of(declined), DEVICE):
        response = await diga.refresh(first["refresh_token"], scope=scope)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_scope")
    assert (await diga.refresh(first["refresh_token"], scope="patient/*.cruds")).json()["error"] == "invalid_scope"
    assert (await diga.refresh(first["refresh_token"])).status_code == 200


async def test_a_withdrawn_kind_of_data_leaves_the_scope(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    kept, withdrawn = diga.scopes.valuesets
    first = await diga.pair(patient_id)
    no = await core.pool.fetchval("SELECT pairing_no FROM pairing WHERE patient_id = $1", patient_id)
    assert await withdraw(core.pool, patient_id, no, withdrawn, core.clock())
    assert (await diga.refresh(first["refresh_token"])).json()["scope"] == diga.scopes.within({kept}).text


async def test_a_kind_of_data_that_the_registry_took_back_leaves_the_scope(
    diga: DigaBackend, patient_id: UUID, trust: FakeTrust
) -> None:
    kept, _ = diga.scopes.valuesets
    first = await diga.pair(patient_id)
    trust.add(replace(diga.diga, valuesets=frozenset({kept})))
    assert (await diga.refresh(first["refresh_token"])).json()["scope"] == diga.scopes.within({kept}).text
    trust.add(replace(diga.diga, valuesets=frozenset()))
    assert (await diga.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"


async def test_only_hashes_are_stored(core: Core, diga: DigaBackend, patient_id: UUID) -> None:
    first = await diga.pair(patient_id)
    second = (await diga.refresh(first["refresh_token"])).json()
    rows: list[Any] = await core.pool.fetch("SELECT * FROM token_grant WHERE patient_id = $1", patient_id)
    text = repr([dict(row) for row in rows])
    assert first["refresh_token"] not in text and second["refresh_token"] not in text
