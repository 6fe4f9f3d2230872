"""What has ended for a grant never returns, in any order of consents, withdrawals, losses, ends and time (a model).

A model grant stores the end of its consent per kind of data; every end takes away, and nothing gives back.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ddr.http.core import Core
from ddr.operations.pairing import approve
from ddr.scopes.parse import granted
from ddr.store.authorization import access, pairings, tokens
from ddr.store.authorization.unpairing import Party, lose, unpair, unpair_expired, withdraw
from ddr.store.database.digest import sha256
from tests.oauth.backend import DigaBackend, answer, stands, verified_elsewhere
from tests.support.budget import budget, limited
from tests.support.clock import Clock
from tests.support.loop import Loop

DAY = 86_400
MOST_GRANTS = 4
BUDGET = budget(examples=12)
KINDS = st.sampled_from((0, 1))


@dataclass
class Grant:
    """What a grant may still be used for: kind of data → end of the consent."""

    tokens: dict[str, Any] | None
    code: str
    rights: dict[str, int] = field(default_factory=dict)
    pairing: int = 0

    def in_force(self, now_ms: int) -> set[str]:
        return {kind for kind, until_ms in self.rights.items() if until_ms > now_ms}


class GrantMachine(RuleBasedStateMachine):
    """One patient and one DiGA with two kinds of data."""

    core: Core
    clock: Clock
    diga: DigaBackend
    run: Callable[[Coroutine[Any, Any, Any]], Any]

    @initialize()
    def begin(self) -> None:
        self.clock.ms = Clock().ms + DAY * 1000  # later than the end of the signer's key
        self.patient_id = uuid4()
        self.run(self.core.pool.execute("INSERT INTO patient (patient_id, created_ms) VALUES ($1, 0)", self.patient_id))
        self.grants: list[Grant] = []
        for kind in (0, 1):
            self.consent({kind}, 30, True)

    @precondition(lambda self: len(self.grants) < MOST_GRANTS)
    @rule(kinds=st.sets(KINDS, min_size=1), days=st.sampled_from((1, 30, 365)), redeemed=st.booleans())
    def agree(self, kinds: set[int], days: int, redeemed: bool) -> None:
        self.consent(kinds, days, redeemed)

    def consent(self, kinds: set[int], days: int, redeemed: bool) -> None:
        chosen, now_ms = {self.diga.scopes.valuesets[kind] for kind in kinds}, self.core.clock()
        until_ms = now_ms + days * DAY * 1000
        request_uri = self.run(self.diga.request_uri())
        location = self.run(approve(self.core, request_uri, self.patient_id, chosen, until_ms))
        code = answer(location)["code"]
        for grant in self.grants:
            for kind in chosen & grant.rights.keys():
                grant.rights[kind] = min(grant.rights[kind], until_ms)
        tokens = self.run(self.diga.exchange(code)).json() if redeemed else None
        self.grants.append(Grant(tokens, code, dict.fromkeys(chosen, until_ms), self.number()))

    @rule(kind=KINDS)
    def withdraw(self, kind: int) -> None:
        valueset = self.diga.scopes.valuesets[kind]
        self.run(withdraw(self.core.pool, self.patient_id, self.number(), valueset, self.core.clock()))
        self.drop(valueset)

    @rule(kind=KINDS)
    def lose(self, kind: int) -> None:
        valueset = self.diga.scopes.valuesets[kind]
        self.run(lose(self.core.pool, self.diga.diga.client_id, valueset, self.core.clock()))
        self.drop(valueset)

    @rule(by=st.sampled_from((Party.PATIENT, Party.SYSTEM)))
    def unpair(self, by: Party) -> None:
        self.run(unpair(self.core.pool, self.patient_id, self.number(), by, "diga-unlisted", self.core.clock()))
        self.drop()

    @precondition(lambda self: any(grant.tokens for grant in self.grants))
    @rule()
    def revoke(self) -> None:
        """The newest token ends everything that its pairing holds, even if it had ended itself."""
        grant = [one for one in self.grants if one.tokens][-1]
        assert grant.tokens is not None
        self.run(self.diga.revoke(grant.tokens["refresh_token"]))
        for one in self.grants:
            if one.pairing == grant.pairing:
                one.rights.clear()

    @rule(days=st.sampled_from((0.9, 29.9, 200)), swept=st.booleans())
    def pass_time(self, days: float, swept: bool) -> None:
        self.clock.advance(days * DAY)
        if swept:
            self.run(unpair_expired(self.core.pool, self.core.clock()))
            self.settle()

    @rule()
    def set_the_clock_back(self) -> None:
        """What a job has found expired stays expired."""
        self.run(unpair_expired(self.core.pool, self.core.clock()))
        self.settle()
        self.clock.advance(-600)

    @invariant()
    def nobody_has_more_than_the_model(self) -> None:
        now_ms = self.core.clock()
        for grant in self.grants:
            wanted = grant.in_force(now_ms)
            if grant.tokens is None:
                family = self.run(self.family(grant.code))
                assert set(family.consents if not family.ended else ()) == wanted
                continue
            assert self.run(self.admitted(grant)) == wanted
            refreshed = self.run(self.diga.refresh(grant.tokens["refresh_token"])).json()
            if not wanted:
                assert refreshed["error"] == "invalid_grant"
            elif "error" in refreshed:  # only thirty days without use end a family
                grant.rights.clear()
            else:
                grant.tokens = refreshed
                assert set(granted(refreshed["scope"]).valuesets) == wanted

    def settle(self) -> None:
        for grant in self.grants:
            grant.rights = {kind: grant.rights[kind] for kind in grant.in_force(self.core.clock())}

    def drop(self, valueset: str | None = None) -> None:
        for grant in self.grants:
            grant.rights = {kind: end for kind, end in grant.rights.items() if valueset and kind != valueset}

    def number(self) -> int:
        found = self.run(pairings.alive(self.core.pool, self.patient_id, self.core.clock()))
        return found[0].pairing_no if found else 0

    async def family(self, code: str) -> Any:
        stored = await tokens.load_code(self.core.pool, sha256(code))
        assert stored is not None
        return await tokens.load_family(self.core.pool, stored.patient_id, stored.grant_no, self.core.clock())

    async def admitted(self, grant: Grant) -> set[str]:
        """What the resource server's statement permits for the grant's access token, however old."""
        assert grant.tokens is not None
        claims = verified_elsewhere(self.core, grant.tokens["access_token"], self.issued_ms(grant))
        name = self.core.ids.decode(claims.grant_id)
        assert name is not None
        permits = [access.Permit(url, None) for url in self.diga.scopes.valuesets]
        request = access.Request(claims.pairing_id, name[1], claims.client_id, permits, {}, self.core.clock())
        standing = (await access.admit(self.core.pool, request)).standing
        return set(standing.consents) if standing and not standing.ended else set()

    def issued_ms(self, grant: Grant) -> int:
        assert grant.tokens is not None
        body = grant.tokens["access_token"].split(".")[1]
        return int(orjson.loads(base64.urlsafe_b64decode(body + "=="))["iat"]) * 1000


@pytest.mark.requirement("CON-004", "CON-005")
@pytest.mark.parametrize("end", ["withdrawal", "loss", "expiry", "shorter", "unpairing"])
async def test_a_later_consent_gives_old_tokens_nothing(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock, end: str
) -> None:
    kept, taken = diga.scopes.valuesets
    await diga.pair(patient_id, {kept})
    old = await diga.pair(patient_id, {taken})
    unused = await diga.code(patient_id, {taken})
    number = (await pairings.alive(core.pool, patient_id, clock()))[0].pairing_no
    match end:
        case "withdrawal":
            assert await withdraw(core.pool, patient_id, number, taken, clock())
        case "loss":
            assert await lose(core.pool, diga.diga.client_id, taken, clock()) == 1
        case "unpairing":
            assert await unpair(core.pool, patient_id, number, Party.PATIENT, "consent-withdrawn", clock())
        case "expiry":
            clock.advance(365 * DAY)
        case "shorter":
            request_uri = await diga.request_uri()
            assert await approve(core, request_uri, patient_id, {taken}, clock() + 1000)
            clock.advance(1)
    new = await diga.pair(patient_id, {taken})
    assert new["scope"] == diga.scopes.within({taken}).text
    assert not await stands(core, old["access_token"]) if end != "expiry" else True
    for refused in (await diga.refresh(old["refresh_token"]), await diga.exchange(unused)):
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await diga.refresh(new["refresh_token"])).status_code == 200


@pytest.mark.requirement("AS-021")
async def test_a_refresh_token_that_ran_out_ends_its_grant(
    core: Core, diga: DigaBackend, patient_id: UUID, clock: Clock
) -> None:
    issued = await diga.pair(patient_id, {diga.scopes.valuesets[0]})
    clock.advance(31 * DAY)
    assert (await diga.refresh(issued["refresh_token"])).json()["error"] == "invalid_grant"
    clock.advance(-2 * DAY)
    assert (await diga.refresh(issued["refresh_token"])).json()["error"] == "invalid_grant"
    alive = "SELECT count(*) FROM token_grant WHERE patient_id = $1 AND revoked_ms IS NULL"
    assert await core.pool.fetchval(alive, patient_id) == 0


@limited
@pytest.mark.requirement("CON-004", "CON-005", "AS-030")
def test_what_ended_for_a_grant_never_comes_back(core: Core, diga: DigaBackend, clock: Clock, loop: Loop) -> None:
    members = {"core": core, "diga": diga, "clock": clock, "run": staticmethod(loop.run)}
    run_state_machine_as_test(type("Machine", (GrantMachine,), members), settings=BUDGET)
