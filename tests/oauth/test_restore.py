"""A database restored from a real dump: what had ended stays ended, and no patient has to pair again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from ddr.cli.main import main
from ddr.http.core import Core
from ddr.oauth.keys import Keys
from ddr.operations.housekeeping import steps
from ddr.operations.pairing import approve
from ddr.operations.restore import Replays, catch_up, keep_mark, replay
from ddr.store.audit import journal
from ddr.store.audit.acting import ACTING, Acting
from ddr.store.audit.trail import Event, record
from ddr.store.authorization import pairings, research, restore, unpairing
from ddr.store.authorization.consents import Shown
from ddr.store.authorization.tokens import Family, load_family, revoke_family
from ddr.store.authorization.unpairing import Party
from ddr.store.database.able import able
from ddr.store.database.digest import sha256
from ddr.store.database.ids import IdCipher
from ddr.store.database.pool import connect
from ddr.store.database.rights import Moment
from ddr.store.database.sealing import key_encryption_key
from ddr.store.database.secrets import load_secrets
from ddr.store.gateways import apps, tokens
from ddr.store.patients import administration, sessions
from ddr.store.patients.accounts import create_patient, verify
from ddr.store.patients.erasure import delete_patient
from tests.oauth.backend import DigaBackend, new_diga, stands
from tests.support.clock import Clock
from tests.support.database import dumped, migrated_database, restored_database
from tests.support.patients import Patient, represent
from tests.support.proofs import records
from tests.support.trust import FakeTrust
from tests.support.waiting import waiting

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
PASSWORD = "correct horse battery"
Json = dict[str, str]


@asynccontextmanager
async def recorder_on(url: str, core: Core) -> AsyncIterator[Core]:
    """A recorder on another database; registry, settings and clock are those of `core`."""
    pool = await connect(url, 5)
    secrets = await load_secrets(pool, key_encryption_key(core.settings))
    signer = await Keys.load(pool, key_encryption_key(core.settings, make=True), core.clock())
    ids = IdCipher(secrets["resource-ids"])
    settings = replace(core.settings, database_url=url)
    try:
        yield replace(core, pool=pool, secrets=secrets, signer=signer, ids=ids, settings=settings)
    finally:
        await pool.close()


@dataclass
class Pair:
    """A patient who paired before the backup, and the tokens that the DiGA has now."""

    patient_id: UUID
    name: str
    diga: DigaBackend
    tokens: Json

    async def go_on(self) -> None:
        """The DiGA refreshes, once more."""
        answer = await self.diga.refresh(self.tokens["refresh_token"])
        assert answer.status_code == 200
        self.tokens = answer.json()

    def at(self, core: Core) -> DigaBackend:
        """The same DiGA at another recorder."""
        return DigaBackend(core, self.diga.diga, self.diga.certificate)

    async def refresh_at(self, core: Core) -> int:
        """The response to its refresh there."""
        return (await self.at(core).refresh(self.tokens["refresh_token"])).status_code


class World:
    """A recorder with a database of its own before and after a restore, and its journal."""

    def __init__(self, core: Core, server: str, folder: Path) -> None:
        self.core, self.server, self.folder = core, server, folder
        self.dump, self.journal = folder / "backup.dump", folder / "journal"
        self.numbers = iter(range(100))

    async def pair(self) -> Pair:
        name = f"patient-{next(self.numbers)}"
        patient_id = await create_patient(self.core.pool, name, PASSWORD, self.core.clock())
        diga, certificate = new_diga(frozenset(miv.valueset for miv in self.core.catalog.mivs))
        assert isinstance(self.core.registry, FakeTrust)
        backend = DigaBackend(self.core, self.core.registry.add(diga, certificate), certificate)
        return Pair(patient_id, name, backend, await backend.pair(patient_id))

    async def back_up(self) -> None:
        await dumped(self.core.settings.database_url, self.dump)

    @asynccontextmanager
    async def restored(self) -> AsyncIterator[Core]:
        async with restored_database(self.server, self.dump) as url, recorder_on(url, self.core) as core:
            yield core

    async def replayed(self, core: Core) -> dict[str, int]:
        with journal.JOURNAL.kept_in(None):
            return dict(await replay(core.pool, journal.entries(self.journal), core.clock()))

    async def pairing_no(self, pair: Pair) -> int:
        (alive,) = await pairings.alive(self.core.pool, pair.patient_id, self.core.clock())
        return alive.pairing_no


@pytest.fixture
async def world(core: Core, database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A recorder before its backup; its journal is kept."""
    async with migrated_database(database_url) as url, recorder_on(url, core) as own:
        made = World(own, database_url, tmp_path)
        with journal.JOURNAL.kept_in(made.journal):
            yield made


async def test_what_ended_after_the_backup_stays_ended(world: World, clock: Clock) -> None:
    pool, now = world.core.pool, clock()
    withdrawn, partly, stolen, gone, disabled, phone, untouched = [await world.pair() for _ in range(7)]
    lost = await tokens.create(pool, phone.patient_id, now)
    (app,) = await tokens.apps(pool, phone.patient_id, now)
    first = stolen.tokens["refresh_token"]
    await world.back_up()
    clock.advance(60)
    now = clock()
    kind = next(iter(partly.diga.diga.valuesets))
    number = await world.pairing_no(withdrawn)
    await unpairing.unpair(pool, withdrawn.patient_id, number, Party.PATIENT, "consent-withdrawn", now)
    assert await unpairing.withdraw(pool, partly.patient_id, await world.pairing_no(partly), kind, now)
    await stolen.go_on()
    await stolen.go_on()
    assert (await stolen.diga.refresh(first)).status_code == 400  # a thief: the family ends
    await delete_patient(pool, gone.patient_id, now)
    await administration.disable(pool, disabled.patient_id, now)
    await apps.disconnect(pool, phone.patient_id, app["app"], Event.GATEWAY_DISCONNECTED, now)
    async with world.restored() as core:
        assert await stands(core, withdrawn.tokens["access_token"])  # the backup does not know better
        done = await world.replayed(core)
        assert done["patient:pairing:ended"] == 2 and done["patient:data:deleted"] == 1
        for pair in (withdrawn, stolen, gone, disabled):
            assert await pair.refresh_at(core) == 400
        assert not await stands(core, withdrawn.tokens["access_token"])
        scope = (await partly.at(core).refresh(partly.tokens["refresh_token"])).json()["scope"]
        assert kind not in scope and scope
        assert await verify(core.pool, gone.name, PASSWORD) is None
        assert await verify(core.pool, disabled.name, PASSWORD) is None
        holder = await tokens.find(core.pool, sha256(lost), clock())
        assert holder is not None and not holder.good
        assert await untouched.refresh_at(core) == 200
        assert await world.replayed(core) == {}  # again; it finds nothing to do
        trail = [row["event"] for row in await core.pool.fetch("SELECT event FROM audit ORDER BY audit_no")]
        assert trail.count("patient:pairing:ended") >= 1


@pytest.mark.requirement("CON-019")
async def test_an_earlier_end_that_was_chosen_after_the_backup_holds(world: World, clock: Clock) -> None:
    """A consent ends earlier by agreeing again for a shorter time, an app's token by its renewal."""
    pool, pair = world.core.pool, await world.pair()
    former = await tokens.create(pool, pair.patient_id, clock())
    await world.back_up()
    clock.advance(60)
    until_ms, request_uri = clock() + 30 * DAY_MS, await pair.diga.request_uri()
    assert await approve(world.core, request_uri, pair.patient_id, pair.diga.diga.valuesets, until_ms) is not None
    assert await apps.renew(pool, sha256(former), 365, HOUR_MS, clock()) is not None
    clock.advance(60)
    async with world.restored() as core:
        ends = "SELECT until_ms FROM consent WHERE patient_id = $1 AND withdrawn_ms IS NULL"
        assert all(row["until_ms"] > until_ms for row in await core.pool.fetch(ends, pair.patient_id))
        await pair.at(core).pair(pair.patient_id)  # later: for as long as it says itself
        late = await core.pool.fetchval(f"SELECT max(until_ms) FROM ({ends}) AS one", pair.patient_id)
        done = await world.replayed(core)
        assert done == {"gateway:token:renewed": 1, "patient:pairing:granted": 1}
        kept = [row["until_ms"] for row in await core.pool.fetch(ends, pair.patient_id)]
        assert set(kept) == {until_ms, late} and kept.count(until_ms) == kept.count(late)
        holder = await tokens.find(core.pool, sha256(former), clock() + HOUR_MS)
        assert holder is not None and not holder.good
        assert await world.replayed(core) == {}


@pytest.mark.requirement("CON-005")
async def test_what_was_withdrawn_while_the_clock_was_set_back_stays_withdrawn(world: World, clock: Clock) -> None:
    """The clock is hours behind: before the consents, and before the time up to which the backup knew the journal."""
    pool = world.core.pool
    partly, shorter, stolen, whole = [await world.pair() for _ in range(4)]
    await unpairing.unpair(pool, whole.patient_id, await world.pairing_no(whole), Party.PATIENT, "left", clock())
    assert await research.give(pool, partly.patient_id, Shown("de", "1", "Forschung"), clock())
    for _ in range(3):
        await keep_mark(pool, world.journal, clock(), 0)
        clock.advance(2 * HOUR_MS / 1000)
    await world.back_up()
    clock.advance(-24 * HOUR_MS / 1000)
    now, kind = clock(), next(iter(partly.diga.diga.valuesets))
    assert await unpairing.withdraw(pool, partly.patient_id, await world.pairing_no(partly), kind, now)
    until_ms, request_uri = now + 30 * DAY_MS, await shorter.diga.request_uri()
    assert await approve(world.core, request_uri, shorter.patient_id, shorter.diga.diga.valuesets, until_ms) is not None
    family = await tokens_of(pool, stolen)
    assert await revoke_family(pool, family, Event.REFRESH_REUSED, now)
    assert await research.withdraw(pool, partly.patient_id, "consent-withdrawn", now)
    async with world.restored() as core:
        with journal.JOURNAL.kept_in(None):
            done = await catch_up(core.pool, world.journal, now)
        assert done == {
            "diga:refresh:reused": 1,
            "patient:consent:withdrawn": 1,
            "patient:pairing:granted": 1,
            "patient:research:withdrawn": 1,
        }
        left = "SELECT until_ms FROM consent WHERE patient_id = $1 AND withdrawn_ms IS NULL AND miv_url = $2"
        assert await core.pool.fetch(left, partly.patient_id, kind) == []
        assert {row["until_ms"] for row in await core.pool.fetch(left, shorter.patient_id, kind)} == {until_ms}
        assert await stolen.refresh_at(core) == 400
        clock.advance(60)
        again = await partly.at(core).pair(partly.patient_id)
        with journal.JOURNAL.kept_in(None):
            assert await catch_up(core.pool, world.journal, now) == {}, "it knows the journal now"
            assert await replay(core.pool, journal.entries(world.journal), now) == {}
        assert kind in again["scope"] and await stands(core, again["access_token"])


async def test_what_was_given_after_the_clock_had_been_ahead_outlives_a_replay(world: World, clock: Clock) -> None:
    """What ended or was shortened while the clock was days ahead already existed; what was agreed later did not."""
    pool, now = world.core.pool, clock()
    partly, shorter = [await world.pair() for _ in range(2)]
    kind = next(iter(partly.diga.diga.valuesets))
    assert await research.give(pool, partly.patient_id, Shown("de", "1", "Forschung"), now)
    await world.back_up()
    clock.advance(20 * DAY_MS / 1000)
    assert await unpairing.withdraw(pool, partly.patient_id, await world.pairing_no(partly), kind, clock())
    until_ms, request_uri = clock() + 30 * DAY_MS, await shorter.diga.request_uri()
    assert await approve(world.core, request_uri, shorter.patient_id, shorter.diga.diga.valuesets, until_ms) is not None
    assert await research.withdraw(pool, partly.patient_id, "consent-withdrawn", clock())
    clock.advance(60 - 20 * DAY_MS / 1000)

    async def given_again(core: Core) -> None:
        """None of it ends, however often the journal is replayed."""
        again = [await pair.at(core).pair(pair.patient_id) for pair in (partly, shorter)]
        assert await research.give(core.pool, partly.patient_id, Shown("de", "1", "Forschung"), clock())
        left = "SELECT until_ms FROM consent WHERE withdrawn_ms IS NULL ORDER BY consent_no"
        before = await core.pool.fetch(left)
        for _ in range(2):
            assert await world.replayed(core) == {}
        assert kind in again[0]["scope"] and await stands(core, again[0]["access_token"])
        assert await core.pool.fetch(left) == before
        assert not await research.give(core.pool, partly.patient_id, Shown("de", "1", "Forschung"), clock())

    with journal.JOURNAL.kept_in(None):
        await given_again(world.core)
        async with world.restored() as core:
            assert set(await world.replayed(core)) == {
                "patient:consent:withdrawn",
                "patient:pairing:granted",
                "patient:research:withdrawn",
            }
            await given_again(core)


async def test_what_a_failover_lost_ends_again_while_the_recorder_runs(world: World, clock: Clock) -> None:
    """The journal is replayed once for each server that a worker finds, not at each look."""
    replays, pool = Replays(), world.core.pool
    withdrawn, untouched = await world.pair(), await world.pair()
    await replays.look(pool, world.journal, clock())
    await world.back_up()
    await unpairing.unpair(
        pool, withdrawn.patient_id, await world.pairing_no(withdrawn), Party.PATIENT, "consent-withdrawn", clock()
    )
    async with world.restored() as core:
        assert await stands(core, withdrawn.tokens["access_token"])
        await replays.look(core.pool, world.journal, clock())
        assert not await stands(core, withdrawn.tokens["access_token"])
        assert await stands(core, untouched.tokens["access_token"])
        await core.pool.execute("UPDATE journal_mark SET known = '{}'")
        await replays.look(core.pool, world.journal, clock())
        assert await core.pool.fetchval("SELECT known FROM journal_mark") == {}, "it is the same server still"


async def test_a_start_reads_what_the_database_does_not_know(world: World, clock: Clock) -> None:
    """A file that replaced another one is read as a whole; of a file that has grown, only the rest is read."""
    pool, hour = world.core.pool, HOUR_MS / 1000
    for _ in range(2):
        pair = await world.pair()
        await unpairing.unpair(pool, pair.patient_id, await world.pairing_no(pair), Party.PATIENT, "left", clock())
    (path,) = journal.files(world.journal)

    async def unread() -> int:
        return len(list(journal.entries(world.journal, await restore.marked(pool))))

    await keep_mark(pool, world.journal, clock(), 0)
    assert await unread() == 2, "what was under way may not be in the database"
    clock.advance(hour / 2)
    await keep_mark(pool, world.journal, clock(), 0)
    assert await unread() == 2
    clock.advance(hour)
    await keep_mark(pool, world.journal, clock(), 0)
    assert await unread() == 0
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines(keepends=True)[0])
    assert await unread() == 1
    first, second = whole.splitlines(keepends=True)
    path.write_bytes(first)
    assert await unread() == 1, "a file that was cut off"
    path.write_bytes(second + first + first + first)
    assert await unread() == 4, "a file of another host of this name"


async def test_nothing_is_kept_of_files_that_housekeeping_deleted(world: World, clock: Clock) -> None:
    """A start reads the whole of a file that another host still has."""
    core = replace(world.core, settings=replace(world.core.settings, journal_dir=str(world.journal)))
    pair = await world.pair()
    await unpairing.unpair(core.pool, pair.patient_id, await world.pairing_no(pair), Party.PATIENT, "left", clock())
    (path,) = journal.files(world.journal)
    content = path.read_bytes()

    async def known_after(days: float) -> dict[str, int]:
        for _ in range(2):
            clock.advance((days * DAY_MS + HOUR_MS + 1) / 1000)
            await steps(core, clock())["journal"]()
            days = 0
        return await restore.marked(core.pool)

    there = journal.held(world.journal)
    assert await known_after(0) == there
    assert await known_after(core.settings.journal_days) == there, "it has days of a month that is not over yet"
    assert await known_after(31) == {}
    assert journal.files(world.journal) == []
    path.write_bytes(content)
    assert len(list(journal.entries(world.journal, await restore.marked(core.pool)))) == 1
    assert await catch_up(core.pool, world.journal, clock()) == {}, "it has ended"


async def test_what_a_representative_withdrew_is_withdrawn_again_in_this_role(world: World, clock: Clock) -> None:
    pool, one, other = world.core.pool, await world.pair(), await world.pair()
    kind = next(iter(one.diga.diga.valuesets))
    await world.back_up()
    clock.advance(60)
    acting = Acting(other.patient_id, UUID(int=7), "parent", "somebody", None)
    token = ACTING.set(acting)
    await unpairing.withdraw(pool, one.patient_id, await world.pairing_no(one), kind, clock())
    number = await world.pairing_no(other)
    await unpairing.unpair(pool, other.patient_id, number, Party.PATIENT, unpairing.withdrawn(), clock())
    ACTING.reset(token)
    clock.advance(60)
    async with world.restored() as core:
        await world.replayed(core)
        for pair in (one, other):
            ended = [row for row in await records(core.pool, pair.patient_id) if row["act"] == "ended"]
            assert ended and {(row["role"], row["representation_id"]) for row in ended} == {("parent", UUID(int=7))}
            assert {row["reason"] for row in ended} == {"withdrawn-by-representative"}
        told = "SELECT detail FROM audit WHERE event IN ('patient:consent:withdrawn', 'patient:pairing:ended')"
        assert [row["detail"]["by"] for row in await core.pool.fetch(told)] == ["parent", "parent"]
    assert ACTING.get() is None


async def test_what_a_representative_deleted_is_deleted_again(world: World, clock: Clock) -> None:
    """The representative's right began after the backup, so the database does not know it."""
    pool, gone, other = world.core.pool, await world.pair(), await world.pair()
    await world.back_up()
    clock.advance(60)
    mother, mia = [Patient(pair.patient_id, pair.name) for pair in (other, gone)]
    right, moment = await represent(world.core, mother, mia), Moment.at(clock(), world.core.settings)
    token = ACTING.set(Acting(mother.patient_id, right, "parent", "Mia", moment))
    assert await delete_patient(pool, mia.patient_id, clock())
    ACTING.reset(token)
    async with world.restored() as core:
        assert await verify(core.pool, gone.name, PASSWORD)
        assert (await world.replayed(core))["patient:data:deleted"] == 1
        assert await verify(core.pool, gone.name, PASSWORD) is None


async def tokens_of(pool: asyncpg.Pool, pair: Pair) -> Family:
    """The grant of this pair."""
    number = await pool.fetchval("SELECT grant_no FROM token_grant WHERE patient_id = $1", pair.patient_id)
    family = await load_family(pool, pair.patient_id, number, 0)
    assert family is not None
    return family


async def test_whoever_logged_out_after_the_backup_is_logged_out(world: World, clock: Clock) -> None:
    pair = await world.pair()
    moment = Moment.at(clock(), world.core.settings)
    cookie = await sessions.open_session(world.core.pool, sessions.Session(pair.patient_id, pair.name), clock())
    code = await apps.offer_code(world.core.pool, pair.patient_id, clock())
    await world.back_up()
    await sessions.close_session(world.core.pool, cookie)
    assert await apps.connect(world.core.pool, code, "app", 1, moment) is not None
    async with world.restored() as core:
        assert await sessions.load_session(core.pool, cookie, moment, HOUR_MS) is not None
        await restore.declare(core.pool, clock() + HOUR_MS, clock())
        assert await sessions.load_session(core.pool, cookie, moment, HOUR_MS) is None
        assert await apps.connect(core.pool, code, "app", 1, moment) is None


async def test_what_began_after_an_end_is_not_touched_by_it(world: World, clock: Clock) -> None:
    """The journal is replayed at each start; a consent that was given again stays valid."""
    pair = await world.pair()
    kind = next(iter(pair.diga.diga.valuesets))
    clock.advance(60)
    await unpairing.withdraw(world.core.pool, pair.patient_id, await world.pairing_no(pair), kind, clock())
    await administration.disable(world.core.pool, pair.patient_id, clock())
    clock.advance(60)
    await administration.enable(world.core.pool, pair.patient_id)
    again = await pair.diga.pair(pair.patient_id)
    assert await world.replayed(world.core) == {}
    assert await stands(world.core, again["access_token"]) and kind in again["scope"]


async def test_a_consent_that_is_given_while_the_journal_is_replayed_stays(world: World, clock: Clock) -> None:
    pool, pair = world.core.pool, await world.pair()
    kind, number = next(iter(pair.diga.diga.valuesets)), await world.pairing_no(pair)
    assert await unpairing.withdraw(pool, pair.patient_id, number, kind, clock())
    clock.advance(60)
    request_uri = await pair.diga.request_uri()
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT FROM pairing WHERE patient_id = $1 FOR UPDATE", pair.patient_id)
        given = asyncio.create_task(approve(world.core, request_uri, pair.patient_id, {kind}, clock() + DAY_MS))
        while await waiting(pool) < 1:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        replayed = asyncio.create_task(world.replayed(world.core))
        while await waiting(pool) < 2:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
    assert await given is not None
    assert await replayed == {}
    left = "SELECT FROM consent WHERE patient_id = $1 AND miv_url = $2 AND withdrawn_ms IS NULL"
    assert len(await pool.fetch(left, pair.patient_id, kind)) == 1


async def test_an_account_that_was_enabled_from_another_host_stays_so(world: World, clock: Clock) -> None:
    """Each host replays its own journal at a start, and pairings that it ended by mistake would not come back."""
    pair = await world.pair()
    await administration.disable(world.core.pool, pair.patient_id, clock())
    clock.advance(60)
    with journal.JOURNAL.kept_in(world.folder / "other host"):
        await administration.enable(world.core.pool, pair.patient_id)
    again = await pair.diga.pair(pair.patient_id)
    assert await world.replayed(world.core) == {}
    assert await stands(world.core, again["access_token"])
    clock.advance(60)
    await administration.disable(world.core.pool, pair.patient_id, clock())
    await world.core.pool.execute("UPDATE patient SET disabled_ms = NULL WHERE patient_id = $1", pair.patient_id)
    assert await world.replayed(world.core) == {"operator:account:disabled": 1}, "the last word is that it is disabled"


async def test_no_clock_of_a_host_decides_whether_an_account_was_enabled_again(world: World, clock: Clock) -> None:
    """First another host's clock is a day behind; then the database's own, since a restore, is behind the journal."""
    pair = await world.pair()
    await administration.disable(world.core.pool, pair.patient_id, clock() + 10 * DAY_MS)
    clock.advance(-86_400)
    with journal.JOURNAL.kept_in(world.folder / "other host"):
        assert await administration.enable(world.core.pool, pair.patient_id)
    assert await world.replayed(world.core) == {}
    later_ms = time.time_ns() // 1_000_000 + DAY_MS
    disabled = {"event": "operator:account:disabled", "at_ms": later_ms, "patient": str(pair.patient_id)}
    await journal.JOURNAL.note(disabled)
    for expected in ({"operator:account:disabled": 1}, {}):
        assert await world.replayed(world.core) == expected
    with journal.JOURNAL.kept_in(world.folder / "other host"):
        assert await administration.enable(world.core.pool, pair.patient_id)
    for _ in range(3):  # what is written later has an earlier time
        await record(world.core.pool, Event.DATA_READ, clock(), patient_id=pair.patient_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ddr.store.audit.patients.FRESH", 2)
        assert await world.replayed(world.core) == {}
    assert await able(world.core.pool, pair.patient_id)


async def test_refreshes_that_the_backup_missed(world: World, clock: Clock) -> None:
    """In the window each DiGA can continue once; before it nothing ends; a stolen token still ends the family."""
    one, other, late = [await world.pair() for _ in range(3)]
    old = other.tokens["refresh_token"]
    for pair in (one, other, late):
        clock.advance(60)
        await pair.go_on()
    await world.back_up()
    for pair in (one, other, late):
        clock.advance(60)
        await pair.go_on()
        await pair.go_on()
    async with world.restored() as core:
        assert await one.refresh_at(core) == 400
        assert await core.pool.fetchval("SELECT count(*) FROM token_grant WHERE revoked_ms IS NOT NULL") == 0
        await restore.declare(core.pool, clock() + HOUR_MS, clock())
        foreign = DigaBackend(core, one.diga.diga, other.diga.certificate)
        assert (await foreign.refresh(one.tokens["refresh_token"])).status_code == 401
        answer = await one.at(core).refresh(one.tokens["refresh_token"])
        assert answer.status_code == 200
        repeated = await one.at(core).refresh(one.tokens["refresh_token"])  # its response was lost
        assert repeated.json()["refresh_token"] == answer.json()["refresh_token"]
        one.tokens = answer.json()
        clock.advance(60)
        assert await one.refresh_at(core) == 200
        assert await core.pool.fetchval("SELECT count(*) FROM audit WHERE event = 'diga:refresh:restored'") == 1
        assert (await other.at(core).refresh(old)).status_code == 400  # older than what the backup knows
        assert await other.refresh_at(core) == 400
        clock.advance(HOUR_MS / 1000)
        assert await late.refresh_at(core) == 400  # the window is over


async def test_only_once_per_grant(world: World, clock: Clock) -> None:
    pair = await world.pair()
    await world.back_up()
    clock.advance(60)
    await pair.go_on()
    early = pair.tokens["refresh_token"]
    for _ in range(3):
        clock.advance(60)
        await pair.go_on()
    async with world.restored() as core:
        await restore.declare(core.pool, clock() + HOUR_MS, clock())
        assert (await pair.at(core).refresh(early)).status_code == 200
        clock.advance(60)
        assert await pair.refresh_at(core) == 400  # a second holder of later tokens


async def test_the_certificate_that_held_the_grant(world: World, clock: Clock) -> None:
    """Another certificate of the DiGA is accepted once the former one is no longer listed, and not before."""
    pair = await world.pair()
    await world.back_up()
    clock.advance(60)
    await pair.go_on()
    second = b"second certificate"
    assert isinstance(world.core.registry, FakeTrust)
    renewed = world.core.registry.add(pair.diga.diga, second)
    async with world.restored() as core:
        await restore.declare(core.pool, clock() + HOUR_MS, clock())
        by_second = DigaBackend(core, renewed, second)
        assert (await by_second.refresh(pair.tokens["refresh_token"])).status_code == 400
        alone = replace(renewed, certificates=frozenset())
        assert isinstance(core.registry, FakeTrust)
        only = core.registry.add(alone, second)
        answer = await DigaBackend(core, only, second).refresh(pair.tokens["refresh_token"])
        assert answer.status_code == 200


async def test_numbers_that_were_given_out_come_not_again(world: World, clock: Clock) -> None:
    """Ids are made of these numbers, and a DiGA may have seen the ids."""
    await world.pair()
    await world.back_up()
    after = await world.pair()
    sql = "SELECT max(grant_no) FROM token_grant"
    latest = await world.core.pool.fetchval(sql)
    async with world.restored() as core:
        assert await core.pool.fetchval(sql) < latest
        await restore.declare(core.pool, clock() + HOUR_MS, clock())
        patient_id = await create_patient(core.pool, "somebody new", PASSWORD, clock())
        await after.at(core).pair(patient_id)
        assert await core.pool.fetchval(sql) > latest


async def test_the_operators_commands(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pair, number = await world.pair(), 0
    await world.back_up()
    number = await world.pairing_no(pair)
    await unpairing.unpair(world.core.pool, pair.patient_id, number, Party.PATIENT, "consent-withdrawn", clock())
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")
    monkeypatch.setenv("DDR_STATE_DIR", str(world.folder))

    async def ddr(*arguments: str) -> tuple[int, str]:
        status = await asyncio.to_thread(main, ["restore", *arguments])
        told = capsys.readouterr()
        return status, told.out + told.err

    async with world.restored() as core:
        monkeypatch.setenv("DDR_DATABASE_URL", core.settings.database_url)
        assert (await ddr("replay", "--journal", str(world.folder / "none")))[0] == 1
        assert (await ddr("end"))[1] == "ddr: the window for forgotten refresh tokens is not open\n"
        status, told = await ddr("begin", "--window", "72")
        assert status == 0 and "1 x patient:pairing:ended" in told and "until 20" in told
        assert await pair.refresh_at(core) == 400
        assert (await ddr("replay")) == (0, "nothing had to be repeated\n")
        assert (await ddr("end")) == (0, "the window for forgotten refresh tokens is closed\n")
        file = journal.files(world.journal)[-1]  # there are two when a month has just begun
        file.write_bytes(file.read_bytes() + b'{"event": "patient:pair\n\n')
        unread = f"{file}: 1 lines cannot be read; the ends in them are not repeated\n"
        assert (await ddr("replay")) == (0, "nothing had to be repeated\n" + unread)
        file.write_bytes(file.read_bytes() + b'{"event": "of a later version", "at_ms": 4102444800000}\n')
        status, told = await ddr("begin", "--window", "72")
        assert status == 0 and "2100-01-01" in told and "clock" in told


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"at_ms": 1}', b'{"at_ms": 1, "event": "patient:pairing:ended"}'])
async def test_lines_that_nobody_can_read_are_passed_over(
    world: World, pool: asyncpg.Pool, clock: Clock, line: bytes
) -> None:
    """A crash has cut them off, or a later version wrote them."""
    pair = await world.pair()
    number = await world.pairing_no(pair)
    await world.back_up()
    await unpairing.unpair(world.core.pool, pair.patient_id, number, Party.PATIENT, "consent-withdrawn", clock())
    (file,) = journal.files(world.journal)
    file.write_bytes(line + b"\n" + file.read_bytes() + line)
    async with world.restored() as core:
        assert await world.replayed(core) == {"patient:pairing:ended": 1}
