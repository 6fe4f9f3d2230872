"""The page of accesses shows a patient each access once and in order (AUD-005).

Whatever DiGA, patient and representatives do, and whatever part of the trail is sealed and packed meanwhile.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from ddr.demo.diga_client import DigaRefused
from ddr.miv.loader import load_catalog
from ddr.operations.audit_packing import pack_some
from ddr.operations.audit_trail import seal
from ddr.patient_pages import access
from ddr.patient_pages.dates import day, time_of_day
from ddr.patient_pages.texts import text
from ddr.settings import MivSettings, Settings
from ddr.store.audit.trail import Event
from ddr.store.authorization.representations import End, SetBy, end, end_due
from ddr.store.database.pool import open_pool
from ddr.store.database.rights import Moment
from ddr.store.patients.erasure import delete_rest
from tests.spec.patient_pages import PatientPages, form_of, logged_in, pages_of
from tests.spec.world import BG, BP, CGM, DAY, MINUTE, Home, paired
from tests.support.budget import budget, limited
from tests.support.database import migrated_database
from tests.support.loop import Loop, Run
from tests.support.patients import Patient as Person
from tests.support.patients import represent
from tests.support.received import received
from tests.support.recorder import PASSWORD, Recorder, TestDiga, recorder

GRACE_SECONDS = 600
KINDS = (BG, BP, CGM)
FREE = BP  # has no Grace-Period at this operator
CODES = {BG: "2339-0", BP: "85354-9", CGM: "99504-3"}
_DAY = re.compile(r"<h2 id=\"day-[0-9]+\">(.*?)</h2>(.*?)</section>", re.S)
_LINE = re.compile(r"<li>(.*?)</li>", re.S)
_OLDER = re.compile(r'href="(/me/access\?before=[0-9a-f]+)"')


@dataclass(frozen=True)
class Line:
    """The page's entry for one moment."""

    day: str
    time: str
    words: str


def lines(page: str) -> list[Line]:
    """Everything on one page: a day at a time, the newest first on each day."""
    found: list[Line] = []
    for name, part in _DAY.findall(page):
        of_day = []
        for line in _LINE.findall(part):
            words = re.sub(
                r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", re.findall(r"<p>(.*?)</p>", line, re.S)[0]))
            )
            several = re.findall(r'<p class="quiet">(.*?)</p>', line, re.S)
            times = several[0].split(", ") if several else re.findall(r'<span class="when">(.*?)</span>', line, re.S)
            assert times == sorted(times, reverse=True), "the newest first"
            of_day += [Line(name, time.strip(), words) for time in times]
        found += sorted(of_day, key=lambda one: one.time, reverse=True)
    return found


@dataclass
class Opened:
    """The patient's pages in the mother's browser: the right, the token of their forms, the last use."""

    pages: PatientPages
    right: UUID
    token: str
    used_ms: int


class AccessMachine(RuleBasedStateMachine):
    """One patient after the other, each deleted before the next; one DiGA; and a mother who may act at times."""

    ddr: Recorder
    diga: TestDiga
    run: Run[Any]

    def __init__(self) -> None:
        super().__init__()
        self.run(self.first())

    async def first(self) -> None:
        self.mother = await self.ddr.patient()
        await self.begin()

    async def begin(self) -> None:
        """A patient with a value of each kind, and a DiGA that may read all; nobody acts for the patient."""
        self.told: list[Line] = []
        self.refused: list[tuple[str, str]] = []
        self.right: UUID | None = None  # its row is open
        self.until_ms = 0
        self.opened: Opened | None = None
        self.ddr.clock.advance(DAY / 1000)
        self.patient = await self.ddr.patient()
        home = Home(self.ddr, self.patient)
        await home.device("meter", type="337414009")
        await home.device("cuff", type="70665002")
        self.glucose = await home.glucose("g", self.ddr.clock() - MINUTE)
        await home.pressure("p", self.ddr.clock() - MINUTE)
        await self.pair()

    def now(self) -> tuple[str, str]:
        """Day and time as the page says them."""
        now_ms = self.ddr.clock()
        return day("en", now_ms), time_of_day(now_ms)

    def tell(self, event: Event, **detail: Any) -> None:
        """This must be on the page from now on."""
        row = {"event": str(event), "client_id": self.diga.entry.client_id, "detail": detail}
        self.told.append(Line(*self.now(), access.words(self.ddr.core, row, "en", text)))

    async def pair(self) -> None:
        """The patient agrees to everything."""
        self.reader = await paired(self.ddr, self.patient, *KINDS, diga=self.diga)
        self.consented = set(KINDS)
        self.tell(Event.PAIRING_GRANTED, scope=" ".join(self.ddr.scopes(*KINDS)))

    def urls(self, kinds: Collection[str]) -> list[str]:
        return [miv.valueset for miv in self.ddr.core.catalog.mivs if miv.name in kinds]

    async def ask(self, path: str, about: Sequence[str], resource: str = "Observation") -> None:
        """A request for these kinds of data; an answered one counts as a reading of those with consent."""
        await self.renew()
        answer = await self.reader.get(path)
        asked = [kind for kind in about if kind in self.consented]
        if answer.status_code == 200:
            interaction = "read" if "/" in path else "search"
            self.tell(Event.DATA_READ, interaction=interaction, type=resource, valuesets=self.urls(asked))
        else:
            assert answer.status_code in (401, 403, 404, 429), answer.text
            self.refused.append(self.now())

    async def renew(self) -> None:
        with suppress(DigaRefused):
            self.reader.tokens = await self.diga.client.refresh(self.reader.tokens)
        self.reader.renewed_ms = self.ddr.clock()

    @rule(kind=st.sampled_from((None, *KINDS)))
    def search(self, kind: str | None) -> None:
        self.ddr.clock.advance(60)
        query = "" if kind is None else f"?code=http://loinc.org|{CODES[kind]}"
        self.run(self.ask(f"Observation{query}", KINDS if kind is None else (kind,)))

    @rule()
    def read(self) -> None:
        self.ddr.clock.advance(60)
        self.run(self.ask(f"Observation/{self.glucose}", (BG,)))

    @rule()
    def devices(self) -> None:
        self.ddr.clock.advance(60)
        self.run(self.ask("Device", KINDS, "Device"))

    @rule(minutes=st.sampled_from((1, 15, 24 * 60, 3 * 24 * 60)))
    def wait(self, minutes: int) -> None:
        self.ddr.clock.advance(minutes * 60)

    @rule(kind=st.sampled_from((*KINDS, "all")))
    def withdraw(self, kind: str) -> None:
        self.ddr.clock.advance(60)
        if (kind != "all" and kind not in self.consented) or not self.consented:
            return
        url = kind if kind == "all" else self.urls([kind])[0]
        self.run(self.withdraw_at_the_page(url))
        self.withdrawn(kind)

    async def withdraw_at_the_page(self, kind: str) -> None:
        await (await pages_of(self.ddr, self.patient)).withdraw(self.diga.entry.client_id, kind)

    def withdrawn(self, kind: str, **by: str) -> None:
        """A reading of an allowed kind, or of all kinds."""
        if kind != "all":
            self.tell(Event.CONSENT_WITHDRAWN, valueset=self.urls([kind])[0], **by)
        self.consented -= {*KINDS} if kind == "all" else {kind}
        if not self.consented:
            self.tell(Event.PAIRING_ENDED_BY_PATIENT, **by)

    @rule()
    def delete(self) -> None:
        """The patient deletes everything."""
        self.ddr.clock.advance(60)
        self.run(self.delete_at_the_page())

    async def delete_at_the_page(self) -> None:
        pages = await pages_of(self.ddr, self.patient)
        page = await pages.submit(await pages.get("/me/delete"), "password", password=PASSWORD)
        assert page.url.path == "/deleted", page.text
        await self.gone(pages)

    async def gone(self, pages: PatientPages) -> None:
        """Nothing of the patient is served to anybody any more; another patient takes the place."""
        for one in (pages, *([self.opened.pages] if self.opened else ())):
            assert (await one.get("/me/access")).url.path == "/login"
        with pytest.raises(DigaRefused):
            await self.diga.client.refresh(self.reader.tokens)
        self.reader.renewed_ms = self.ddr.clock()
        assert (await self.reader.get("Device")).status_code in (401, 403)
        assert (await self.patient.gateway.get("devices")).status_code == 401
        self.right = None
        await self.log_the_mother_in()
        await self.begin()

    @property
    def may(self) -> bool:
        """Whether the mother may act now."""
        return self.right is not None and self.ddr.clock() < self.until_ms

    @rule(minutes=st.sampled_from((3, 20, 365 * 24 * 60)))
    def let_act(self, minutes: int) -> None:
        """The operator enters that the mother may act for this long; she opens the pages at once."""
        self.ddr.clock.advance(60)
        if self.right is None:
            self.until_ms = self.ddr.clock() + minutes * MINUTE
            mother, child = [Person(one.patient_id, one.username) for one in (self.mother, self.patient)]
            self.right = self.run(represent(self.ddr.core, mother, child, until_ms=self.until_ms))
            self.tell(Event.REPRESENTATION_SET_BY_OPERATOR, by="parent")
            self.enter()

    @rule()
    def let_act_no_more(self) -> None:
        self.ddr.clock.advance(60)
        if self.right is not None:
            self.run(self.end_the_right(self.right))

    async def end_the_right(self, right: UUID) -> None:
        async with self.ddr.core.pool.acquire() as conn, conn.transaction():
            assert await end(conn, self.patient.patient_id, right, SetBy.OPERATOR, End.RELATION, self.ddr.clock())
        self.right = None
        self.tell(Event.REPRESENTATION_ENDED_BY_OPERATOR, by="parent", reason=str(End.RELATION))

    @rule()
    def enter(self) -> None:
        """The mother opens the patient's pages, if she may."""
        self.ddr.clock.advance(60)
        self.run(self.log_the_mother_in())

    async def log_the_mother_in(self) -> None:
        pages, page = await logged_in(self.ddr, self.mother)
        assert page.url.path == ("/me/person" if self.may else "/me")
        if self.right is not None and self.may:
            page = await pages.submit(page, "person", person=str(self.right))
            assert page.url.path == "/me", page.text
            token = dict(form_of(await pages.get("/me/devices"), "file").hidden)["form_token"]
            self.opened = Opened(pages, self.right, token, self.ddr.clock())
            self.tell(Event.REPRESENTATIVE_ENTERED, by="parent")

    @rule(what=st.sampled_from((*KINDS, "all", "download", "delete")))
    def act(self, what: str) -> None:
        """The mother continues on pages that she opened before: this works while she may act, and else does nothing."""
        self.ddr.clock.advance(60)
        if self.opened is not None:
            self.run(self.go_on(self.opened, what))

    async def go_on(self, opened: Opened, what: str) -> None:
        now_ms = self.ddr.clock()
        still = self.may and opened.right == self.right  # another right is another session
        still = still and now_ms - opened.used_ms < self.ddr.settings.session_seconds * 1000
        answer = await self.send(opened, what)
        signed_out = answer.url.path == "/login" or answer.status_code == 403
        assert signed_out is not still, answer.text
        opened.used_ms = now_ms
        if not still:
            self.opened = None
        elif what == "delete":
            await self.gone(opened.pages)
        elif what == "download":
            self.tell(Event.DATA_DOWNLOADED, by="parent")
        elif what in self.consented or (what == "all" and self.consented):
            self.withdrawn(what, by="parent")

    async def send(self, opened: Opened, what: str) -> httpx.Response:
        """A link or a form of such a page."""
        if what == "download":
            return await opened.pages.get("/me/accesses.csv")
        form = {"form_token": opened.token}
        if what == "delete":
            return await opened.pages.http.post("/me/delete", data={**form, "password": PASSWORD})
        form["kind"] = what if what == "all" else self.urls([what])[0]
        return await opened.pages.http.post("/me/withdraw", data={**form, "client_id": self.diga.entry.client_id})

    @rule()
    def revoke(self) -> None:
        self.ddr.clock.advance(60)
        if self.consented:
            self.run(self.renew())
            self.run(self.diga.client.revoke(self.reader.tokens))
            self.consented = set()
            self.tell(Event.PAIRING_ENDED_BY_DIGA)

    @rule()
    def pair_anew(self) -> None:
        self.ddr.clock.advance(60)
        if not self.consented:
            self.run(self.pair())

    @rule(pack=st.booleans())
    def tidy(self, pack: bool) -> None:
        """A round of housekeeping, at the recorder's time."""
        self.ddr.clock.advance(60)
        self.run(end_due(self.ddr.core.pool, Moment.at(self.ddr.clock(), self.ddr.settings)))
        if self.right is not None and not self.may:
            self.right = None
            self.tell(Event.REPRESENTATION_ENDED_BY_SYSTEM, by="parent", reason=str(End.DUE))
        self.run(delete_rest(self.ddr.core.pool, self.ddr.clock()))
        self.run(seal(self.ddr.core.pool, self.ddr.clock()))
        if pack:  # today's entries, too, as if the day were over: otherwise almost nothing would be read from packs
            self.run(pack_some(self.ddr.core.pool, self.ddr.clock() + 2 * DAY))

    @rule()
    def look(self) -> None:
        self.run(self.look_at_all_pages())

    def teardown(self) -> None:
        """The pages that the mother has opened work only while she may act."""
        self.act("download")
        self.enter()
        self.run(self.look_at_all_pages())

    async def look_at_all_pages(self) -> None:
        """All pages, following the links."""
        pages, path = await pages_of(self.ddr, self.patient), "/me/access"
        seen: list[Line] = []
        while path:
            page = (await pages.get(path)).text
            seen += lines(page)
            older = _OLDER.search(page)
            path = html.unescape(older[1]) if older else ""
        told = [one for one in seen if (one.day, one.time) not in self.refused]
        assert Counter(told) == Counter(self.told)
        assert [(one.day, one.time) for one in told] == [(one.day, one.time) for one in self.told[::-1]]
        others = [one for one in seen if (one.day, one.time) in self.refused]
        assert len(others) == len(set(others)), "a refusal to read, and one to refresh before it"


@pytest.fixture
async def own(
    settings: Settings, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Recorder]:
    """A recorder with a database of its own, whose whole trail is packed; small pages."""
    monkeypatch.setattr(access, "PAGE", 4)
    catalog = load_catalog(settings.miv_packages, {})
    terms = {
        miv.name: MivSettings(
            0 if miv.name == FREE else GRACE_SECONDS, miv.min_historic_days, miv.vendor_holdup_seconds
        )
        for miv in catalog.mivs
    }
    async with migrated_database(database_url) as url:
        theirs = replace(settings, database_url=url)
        async with (
            await open_pool(theirs) as pool,
            recorder(pool, theirs, tmp_path / "own", received, terms) as running,
        ):
            yield running


@limited
def test_each_access_is_told_once_and_in_order(own: Recorder, loop: Loop) -> None:
    members = {"ddr": own, "diga": loop.run(own.diga(*KINDS)), "run": staticmethod(loop.run)}
    run_state_machine_as_test(type("Machine", (AccessMachine,), members), settings=budget(examples=8, steps=20))
