"""Every action of a representative checks the right, in one way and when it happens (ddr.store.database.rights)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import pytest

from ddr.gateway import inside
from ddr.http.core import Core
from ddr.operations.pairing import answered, approve, refuse
from ddr.patient_pages.dates import ZONE
from ddr.scopes.diga import Diga
from ddr.series.days import midnight
from ddr.store.audit.acting import ACTING, Acting, RightOver
from ddr.store.audit.trail import Event
from ddr.store.authorization import pairings, research, unpairing
from ddr.store.authorization.consents import Shown
from ddr.store.authorization.representations import End, Relation, SetBy, end
from ddr.store.authorization.unpairing import Party
from ddr.store.database.rights import Moment
from ddr.store.gateways import apps, tokens
from ddr.store.patients import administration, files
from ddr.store.patients.erasure import contents, delete_patient
from tests.support.clock import Clock
from tests.support.patients import Patient, list_diga, new_patient, push_request, represent

LAST = midnight(date(2029, 3, 4), ZONE)
ENDS: dict[str, dict[str, Any]] = {
    "ended": {"born": date(2018, 1, 1)},
    "representative disabled": {"born": date(2018, 1, 1)},
    "majority": {"born": date(2011, 3, 4)},
    "last day": {"relation": Relation.CARER, "until_ms": LAST},
}
MEMBERS = b'{"serialNumber": null, "name": "Meter", "manufacturer": "Muster AG"}'


@dataclass
class Child:
    """A patient with something of everything, and the mother who acts for it."""

    core: Core
    mother: Patient
    patient_id: UUID
    right: UUID
    diga: Diga
    asked: str  # a request of the DiGA that nobody has decided
    allowed: str  # one that was allowed; its code is not redeemed

    async def pairing_no(self) -> int:
        (pairing,) = await pairings.alive(self.core.pool, self.patient_id, self.core.clock())
        return pairing.pairing_no

    async def state(self) -> tuple[dict[str, int], int]:
        """How many rows of each kind there are, and entries in the trail."""
        found = await contents(self.core.pool, self.patient_id)
        trail = "SELECT count(*) FROM audit WHERE patient_id = $1"
        return found, await self.core.pool.fetchval(trail, self.patient_id)

    @contextmanager
    def acting(self, seen: Moment) -> Iterator[None]:
        """The mother acts; her right was in force at `seen`."""
        token = ACTING.set(Acting(self.mother.patient_id, self.right, "parent", "Mia", seen))
        try:
            yield
        finally:
            ACTING.reset(token)

    async def consents(self) -> Any:
        return await approve(self.core, self.asked, self.patient_id, self.diga.valuesets)

    async def refuses(self) -> Any:
        return await refuse(self.core, self.asked, self.patient_id)

    async def refuses_after_all(self) -> Any:
        return await answered(self.core, self.allowed, self.patient_id, (), refused=True)

    async def ends_a_connection(self) -> Any:
        number, reason = await self.pairing_no(), unpairing.withdrawn()
        now_ms = self.core.clock()
        return await unpairing.unpair(self.core.pool, self.patient_id, number, Party.PATIENT, reason, now_ms)

    async def withdraws(self) -> Any:
        kind = min(self.diga.valuesets)
        number = await self.pairing_no()
        return await unpairing.withdraw(self.core.pool, self.patient_id, number, kind, self.core.clock())

    async def makes_a_code(self) -> Any:
        return await apps.offer_code(self.core.pool, self.patient_id, self.core.clock())

    async def disconnects(self) -> Any:
        by = Event.GATEWAY_DISCONNECTED
        return await apps.disconnect(self.core.pool, self.patient_id, None, by, self.core.clock())

    async def agrees_to_research(self) -> Any:
        return await research.give(self.core.pool, self.patient_id, Shown("de", "1", "Text"), self.core.clock())

    async def withdraws_from_research(self) -> Any:
        return await research.withdraw(self.core.pool, self.patient_id, unpairing.withdrawn(), self.core.clock())

    async def gives_a_file(self) -> Any:
        await files.keep(self.core.pool, self.patient_id, "digest", b"values", self.core.clock())
        return True

    async def takes_a_file(self) -> Any:
        status, _ = await inside.call(self.core, self.patient_id, "PUT", "devices/meter", MEMBERS)
        return status == 201

    async def deletes_everything(self) -> Any:
        return await delete_patient(self.core.pool, self.patient_id, self.core.clock())


Act = Callable[[Child], Awaitable[Any]]
ACTS: tuple[Act, ...] = (  # in an order in which each can be done
    Child.agrees_to_research,
    Child.withdraws_from_research,
    Child.gives_a_file,
    Child.takes_a_file,
    Child.makes_a_code,
    Child.disconnects,
    Child.withdraws,
    Child.refuses_after_all,
    Child.consents,
    Child.ends_a_connection,
    Child.refuses,
    Child.deletes_everything,
)


async def child_of(core: Core, **terms: Any) -> Child:
    """A child whose right has these terms."""
    mother, mia = await new_patient(core, "mother"), await new_patient(core, "mia")
    right, diga = await represent(core, mother, mia, **terms), list_diga(core, "70002")
    allowed, asked = [await push_request(core, diga) for _ in range(2)]
    assert await approve(core, allowed, mia.patient_id, diga.valuesets)
    async with core.pool.acquire() as conn:
        await tokens.create(conn, mia.patient_id, core.clock(), name="Phone")
    return Child(core, mother, mia.patient_id, right, diga, asked, allowed)


async def over(core: Core, clock: Clock, how: str) -> tuple[Child, Moment, str]:
    """A child whose right is over now, a moment in which it was not, and a code for an app from then."""
    clock.advance((LAST - 60_000 - clock()) / 1000)
    child, seen = await child_of(core, **ENDS[how]), Moment.at(clock(), core.settings)
    with child.acting(seen):
        code = await apps.offer_code(core.pool, child.patient_id, clock())
    clock.advance(60)
    assert clock() == LAST
    if how == "ended":
        async with core.pool.acquire() as conn, conn.transaction():
            await end(conn, child.patient_id, child.right, SetBy.OPERATOR, End.RELATION, clock())
    elif how == "representative disabled":
        assert await administration.disable(core.pool, child.mother.patient_id, clock())
    return child, seen, code


async def test_who_may_does_all_of_it(core: Core, clock: Clock) -> None:
    child = await child_of(core)
    with child.acting(Moment.at(clock(), core.settings)):
        for act in ACTS:
            if act is Child.refuses:  # what was decided is decided
                child.asked = await push_request(core, child.diga)
            assert await act(child), act


@pytest.mark.parametrize("how", ENDS)
async def test_who_may_not_any_more_does_nothing_of_it(core: Core, clock: Clock, how: str) -> None:
    """Asked for when the right was in force; it is over, its row not closed by housekeeping yet."""
    child, seen, _ = await over(core, clock, how)
    before = await child.state()
    for act in ACTS:
        with child.acting(seen), pytest.raises(RightOver):
            await act(child)
    assert await child.state() == before


@pytest.mark.parametrize("how", ENDS)
async def test_a_code_for_an_app_is_none_any_more(core: Core, clock: Clock, how: str) -> None:
    _, _, code = await over(core, clock, how)
    assert await apps.connect(core.pool, code, "App", 365, Moment.at(clock(), core.settings)) is None
