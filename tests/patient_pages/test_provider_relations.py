"""With each login the OpenID provider says for whom the user acts (docs/representatives.md)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.http.core import Core
from ddr.identity.provider import Provider
from ddr.identity.representing import MOST, Represented, represented
from ddr.patient_pages.visitor import moment
from ddr.series.days import midnight
from ddr.store.audit.trail import Event
from ddr.store.authorization.representations import Relation, SetBy, Terms, open_of
from ddr.store.patients import identities
from ddr.store.patients.relations import follow
from tests.patient_pages.test_provider_login import Traveller
from tests.support.clock import Clock
from tests.support.openid import OpenIdProvider
from tests.support.openid_fixtures import ISSUER
from tests.support.patients import Patient, new_patient, represent

CLAIM = "https://konto.example/represents"
Says = Callable[..., None]


def subject(user: str) -> str:
    """As the provider of the tests names a user."""
    return hashlib.sha256(user.encode()).hexdigest()


def child(user: str, **changes: Any) -> dict[str, Any]:
    """An entry of the claim."""
    entry = {"sub": subject(user), "relation": "parent", "name": "Mia", "birthdate": "2018-05-01", **changes}
    return {key: value for key, value in entry.items() if value is not None}


@pytest.fixture
def traveller(oidc_core: Core, openid: OpenIdProvider) -> Traveller:
    """A browser of a recorder that reads the claim."""
    assert isinstance(oidc_core.identity, Provider)
    oidc_core.identity.represents_claim = CLAIM
    return Traveller(oidc_core, openid)


@pytest.fixture
def says(openid: OpenIdProvider) -> Says:
    """What ID tokens say from now on; nothing: the claim is left out."""

    def said(*claim: Any) -> None:
        openid.change = lambda claims: claims.update({CLAIM: claim[0]} if claim else {})

    return said


async def rights(core: Core, user: str) -> dict[UUID, Any]:
    """Whom this user represents, by patient."""
    login_id = await identities.find(core.pool, ISSUER, subject(user))
    assert login_id is not None
    return {one.patient_id: one for one in await open_of(core.pool, login_id)}


async def test_the_claim_gives_changes_and_ends_rights(
    oidc_core: Core, traveller: Traveller, says: Says, clock: Clock
) -> None:
    says([child("claim-mia"), child("claim-ben", relation="guardian", name="Ben")])
    assert (await traveller.login(user="claim-mother")).headers["location"] == "/me/person"
    mia = await identities.find(oidc_core.pool, ISSUER, subject("claim-mia"))
    assert mia is not None
    before = await rights(oidc_core, "claim-mother")
    assert {one.terms.name: one.terms.relation for one in before.values()} == {"Mia": "parent", "Ben": "guardian"}
    assert (await traveller.here.act_for("Mia")).status_code == 303
    await traveller.login(user="claim-mother")
    assert await rights(oidc_core, "claim-mother") == before  # the same words change nothing
    await traveller.here.act_for("Mia")
    other = Traveller(oidc_core, traveller.provider)
    says([child("claim-mia", name="Mia L.")])
    await other.login(user="claim-mother")
    (left,) = (await rights(oidc_core, "claim-mother")).values()
    assert (left.representation_id, left.terms.name) == (before[mia].representation_id, "Mia L.")
    assert "Mia L." in (await traveller.here.get("/me")).text
    says()
    assert (await other.login(user="claim-mother")).headers["location"] == "/me"
    assert await rights(oidc_core, "claim-mother") == {}
    assert (await traveller.here.get("/me")).headers["location"] == "/login"  # her other browser, at once
    trail = "SELECT event FROM audit WHERE patient_id = $1 AND event LIKE 'provider:%' ORDER BY audit_no"
    assert [row["event"] for row in await oidc_core.pool.fetch(trail, mia)] == [
        Event.REPRESENTATION_SET_BY_PROVIDER,
        Event.REPRESENTATION_ENDED_BY_PROVIDER,
    ]


async def test_who_says_the_same_again_writes_nothing(oidc_core: Core, traveller: Traveller, says: Says) -> None:
    """Where patients are spread, rights are on all servers: each such login would wait for all others."""
    ben = await new_patient(oidc_core, "again-ben")
    says([child("again-mia")])
    await traveller.login(user="again-mother")
    login_id = await identities.find(oidc_core.pool, ISSUER, subject("again-mother"))
    assert login_id is not None
    await represent(oidc_core, Patient(login_id, ""), ben, "Ben")
    before = await rights(oidc_core, "again-mother")
    async with oidc_core.pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE representation IN SHARE MODE")  # who writes waits, who reads does not
        again = await Traveller(oidc_core, traveller.provider).login(user="again-mother")
    assert again.headers["location"] == "/me/person"
    assert await rights(oidc_core, "again-mother") == before and len(before) == 2


async def test_other_terms_are_another_right(oidc_core: Core, traveller: Traveller, says: Says) -> None:
    says([child("terms-mia")])
    await traveller.login(user="terms-mother")
    (first,) = (await rights(oidc_core, "terms-mother")).values()
    await traveller.here.act_for("Mia")
    says([child("terms-mia", relation="guardian", until="2030-01-31")])
    await Traveller(oidc_core, traveller.provider).login(user="terms-mother")
    (second,) = (await rights(oidc_core, "terms-mother")).values()
    assert second.representation_id != first.representation_id and second.terms.relation == Relation.GUARDIAN
    assert (await traveller.here.get("/me")).headers["location"] == "/login"


@pytest.mark.parametrize(("first", "then"), [("2027-03-01", None), ("2027-03-01", "2026-11-01"), (None, "2027-03-01")])
async def test_another_beginning_is_another_right(
    oidc_core: Core, traveller: Traveller, says: Says, first: str | None, then: str | None
) -> None:
    """Who is said to act later does not act now, and who is said to act now does not wait for the day of before."""
    mother = f"since-mother-{first}-{then}"
    says([child("since-mia", since=first)])
    await traveller.login(user=mother)
    says([child("since-mia", since=then)])
    later = then is not None and then > "2027"
    assert (await traveller.login(user=mother)).headers["location"] == ("/me" if later else "/me/person")
    (right,) = (await rights(oidc_core, mother)).values()
    assert (right.terms.since_ms > oidc_core.clock()) == later


async def test_a_beginning_that_is_over_is_the_same(
    oidc_core: Core, traveller: Traveller, says: Says, clock: Clock
) -> None:
    """Also for a worker whose clock is a little behind that of the one which wrote it down."""
    says([child("over-mia")])
    await traveller.login(user="over-mother")
    (right,) = (await rights(oidc_core, "over-mother")).values()
    clock.advance(-2)
    for since in (None, "2026-11-01", "2026-11-22"):
        says([child("over-mia", since=since)])
        await traveller.login(user="over-mother")
        (left,) = (await rights(oidc_core, "over-mother")).values()
        assert left.representation_id == right.representation_id


async def test_what_the_operator_set_stays(oidc_core: Core, traveller: Traveller, says: Says) -> None:
    says([])
    await traveller.login(user="kept-mother")
    login_id = await identities.find(oidc_core.pool, ISSUER, subject("kept-mother"))
    assert login_id is not None
    ben = await new_patient(oidc_core, "ben")
    await represent(oidc_core, Patient(login_id, ""), ben, "Ben")
    for claim in ([child("kept-mia")], []):
        says(claim)
        await traveller.login(user="kept-mother")
        assert (await rights(oidc_core, "kept-mother"))[ben.patient_id].set_by is SetBy.OPERATOR


@pytest.mark.parametrize(
    ("entry", "reason"), [({}, "majority"), ({"relation": "carer", "until": "2036-04-30"}, "until-reached")]
)
async def test_a_right_that_ran_out_as_somebody_logs_in_ends_for_that_reason(
    oidc_core: Core, traveller: Traveller, says: Says, clock: Clock, entry: dict[str, str], reason: str
) -> None:
    """The provider has not said that it ended."""
    mia, mother = f"out-mia-{reason}", f"out-mother-{reason}"
    says([child(mia, **entry)])
    await traveller.login(user=mother)
    clock.ms = midnight(date(2036, 5, 1), ZoneInfo("Europe/Berlin"))
    assert (await Traveller(oidc_core, traveller.provider).login(user=mother)).headers["location"] == "/me"
    trail = "SELECT event, detail->>'reason' AS why FROM audit WHERE patient_id = $1 ORDER BY audit_no DESC LIMIT 1"
    ended = await oidc_core.pool.fetchrow(trail, await identities.find(oidc_core.pool, ISSUER, subject(mia)))
    assert (ended["event"], ended["why"]) == (Event.REPRESENTATION_ENDED_BY_SYSTEM, reason)


async def test_what_the_operator_set_for_a_time_gives_way_when_that_is_over(
    oidc_core: Core, traveller: Traveller, says: Says, clock: Clock
) -> None:
    """Who is the parent by the provider, too, would have to log in once more."""
    says([child("way-mia")])
    await traveller.login(user="way-mother")
    ((mia, _),) = (await rights(oidc_core, "way-mother")).items()
    says([])
    await traveller.login(user="way-mother")
    login_id = await identities.find(oidc_core.pool, ISSUER, subject("way-mother"))
    assert login_id is not None
    await represent(oidc_core, Patient(login_id, ""), Patient(mia, ""), until_ms=clock() + 60_000)
    clock.advance(60)
    says([child("way-mia")])
    assert (await traveller.login(user="way-mother")).headers["location"] == "/me/person"


BAD: list[Any] = [
    {"relation": "parent"}, "{", 7, [7], [child("bad", sub="")], [child("bad", sub="a\x00")],
    [child("bad", relation="boss")],
    [child("bad", name=" ")], [child("bad", name=7)], [child("bad", birthdate=None)], [child("bad", birthdate="2018")],
    [child("bad", birthdate="1990-01-01")], [child("bad", until="2001-01-01")], [child("bad", since="0001-01-01")],
]  # fmt: skip


@pytest.mark.parametrize("claim", BAD, ids=range(len(BAD)))
async def test_what_cannot_be_gives_no_right_and_is_told(
    oidc_core: Core, traveller: Traveller, says: Says, caplog: pytest.LogCaptureFixture, claim: Any
) -> None:
    says(claim)
    with caplog.at_level(logging.WARNING):
        assert (await traveller.login(user="bad-mother")).headers["location"] == "/me"
    assert await rights(oidc_core, "bad-mother") == {}
    told = [record for record in caplog.records if record.message == "identity.represents_refused"]
    assert len(told) == 1
    assert subject("bad") not in caplog.text and "Mia" not in str(told[0].__dict__)


async def test_of_two_entries_of_one_person_the_first_counts_and_the_second_is_told(
    oidc_core: Core, traveller: Traveller, says: Says, caplog: pytest.LogCaptureFixture
) -> None:
    """The last one counted, and nobody was told: maybe a parent was meant, who may delete, and maybe a carer."""
    says([child("twice"), child("twice", relation="carer", birthdate=None)])
    await traveller.login(user="twice-mother")
    (right,) = (await rights(oidc_core, "twice-mother")).values()
    assert right.terms.relation == "parent"
    told = [vars(one) for one in caplog.records if one.message == "identity.represents_refused"]
    assert [one["reason"] for one in told] == ["an entry before it is of the same sub"]
    assert subject("twice") not in caplog.text


async def test_a_list_that_is_too_long_counts_as_far_as_it_may(
    oidc_core: Core, traveller: Traveller, says: Says
) -> None:
    """A home has more people than that; its carers could not log in at all."""
    says([child(f"of-a-home-{number}") for number in range(20 * MOST)])
    assert (await traveller.login(user="home-carer")).headers["location"] == "/me/person"
    assert len(await rights(oidc_core, "home-carer")) == MOST


async def test_nobody_represents_themselves(oidc_core: Core, traveller: Traveller, says: Says) -> None:
    says([child("self-mother")])
    assert (await traveller.login(user="self-mother")).headers["location"] == "/me"


async def test_without_the_setting_the_claim_says_nothing(oidc_core: Core, traveller: Traveller, says: Says) -> None:
    assert isinstance(oidc_core.identity, Provider)
    oidc_core.identity.represents_claim = ""
    says([child("unset-mia")])
    assert (await traveller.login(user="unset-mother")).headers["location"] == "/me"
    assert await identities.find(oidc_core.pool, ISSUER, subject("unset-mia")) is None


async def test_confirming_keeps_for_whom_one_acts(
    oidc_core: Core, traveller: Traveller, says: Says, clock: Clock
) -> None:
    """A new login before deleting: the same user, still for the child."""
    says([child("sure-mia")])
    await traveller.login(user="sure-mother")
    await traveller.here.act_for("Mia")
    address = await traveller.ask("/login/confirm")
    clock.advance(5)
    assert (await traveller.here.get(await traveller.prove(address, "sure-mother"))).headers["location"] == "/me/delete"
    page = await traveller.here.get("/me/delete")
    assert "Die Daten von <bdi>Mia</bdi> löschen" in page.text
    refused = await traveller.login("/login/confirm", user="sure-mia")
    assert refused.status_code == 400  # the child is another user
    assert (await traveller.here.post("/me/delete", page)).headers["location"] == "/deleted?represented"
    gone = await identities.find(oidc_core.pool, ISSUER, subject("sure-mia"))
    assert gone is None and await identities.find(oidc_core.pool, ISSUER, subject("sure-mother")) is not None


async def test_confirming_is_a_login_that_says_who_may(
    oidc_core: Core, traveller: Traveller, says: Says, clock: Clock
) -> None:
    """The provider has taken the right back since: nobody deletes a child's data by a login that says so."""
    says([child("taken-mia")])
    await traveller.login(user="taken-mother")
    await traveller.here.act_for("Mia")
    page = await traveller.here.get("/me/delete")
    says([])
    clock.advance(5)
    await traveller.login("/login/confirm", user="taken-mother")
    assert await rights(oidc_core, "taken-mother") == {}
    assert (await traveller.here.get("/me/delete")).headers["location"] == "/login"
    assert (await traveller.here.post("/me/delete", page)).status_code == 403
    assert await identities.find(oidc_core.pool, ISSUER, subject("taken-mia")) is not None


async def test_many_logins_at_once_leave_one_right(oidc_core: Core) -> None:
    """Two carers of each other log in again and again, with other words each time: nobody waits for ever."""
    core, now = oidc_core, moment(oidc_core)
    one, two = [(await new_patient(core, name)).patient_id for name in ("one", "two")]
    terms = [Terms(Relation.CARER, "x", now.now_ms, until_ms) for until_ms in (None, now.now_ms + 10, now.now_ms + 20)]
    async with asyncio.timeout(30):
        await asyncio.gather(
            *(follow(core.pool, *pair, now)
              for said in terms * 2 for pair in ((one, {two: said}), (two, {one: said})))
        )  # fmt: skip
    for login_id, patient_id in ((one, two), (two, one)):
        (left,) = await open_of(core.pool, login_id)
        assert left.patient_id == patient_id and left.terms in terms


def test_a_text_may_be_the_array_and_there_is_an_end() -> None:
    one = child("x", until="2030-01-31")
    (read,) = represented(json.dumps([one]))
    assert isinstance(read, Represented) and str(read.until) == "2030-01-31"
    assert list(represented(None)) == [] and list(represented([])) == []
    found = list(represented([one] * (MOST + 3)))
    assert len(found) == MOST + 1 and isinstance(found[-1], str)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["sub", "relation", "name", "until"]), inner),
    )
)
def test_no_claim_breaks_the_reading(claim: Any) -> None:
    for entry in represented(claim):
        assert isinstance(entry, (str, Represented))
