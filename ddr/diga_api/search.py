"""search: first pages and further ones (HDDT fhir-api-observation.md, fhir-api-device.md, fhir-api-devicemetric.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlencode

from ddr.aside import Breath, aside
from ddr.diga_api.access import Access, Candidate, Gate
from ddr.diga_api.paging import PARAMETER, SETTLED, Page, PageLinks
from ddr.diga_api.request import Pairs, Request, rendered
from ddr.diga_api.resources import TYPES, Builder
from ddr.diga_api.warnings import codes, covers, warnings
from ddr.fhir.bundle import INCLUDE, OUTCOME, search_bundle
from ddr.fhir.device_types import metric_type
from ddr.fhir.instants import instant
from ddr.fhir.negotiation import Format
from ddr.fhir.outcome import malformed
from ddr.fhir.pieces import entry_pieces, piece, search_document
from ddr.fhir.search.parsing import parse_search
from ddr.fhir.search.query import Search
from ddr.fhir.search.units import to_common
from ddr.fhir.subset import WHOLE
from ddr.http.asgi import Reply
from ddr.http.core import Core
from ddr.miv.model import MivCatalog, MivCode, MivComponent
from ddr.scopes.parse import Scopes
from ddr.store.search.conditions import Names, Units
from ddr.store.search.pages import Found, first_page, first_page_statement, keep, later_page

LONGEST_LINK = 1_500  # characters of a link to the next page with all that follows; most links are never followed
MOST_LINKED = 2_000  # keys that may be tried to fit into a link
SMALL_ENTRIES = 8  # which take less than a millisecond
LARGE_ENTRIES = 100  # which are written outside the event loop


class _Frame(NamedTuple):
    """What a searchset has besides its entries; `notice` is an OperationOutcome with warnings."""

    links: dict[str, str]
    total: int | None
    updated: str
    notice: dict[str, Any] | None


class Searcher:
    """Answers the searches of one worker."""

    def __init__(self, core: Core, gate: Gate) -> None:
        self._core = core
        self._gate = gate
        self._links = PageLinks(core.secrets["page-links"])
        self._names = Names(core.ids, _metric_types(core.catalog), _codes(core.catalog), *_units(core.catalog))

    async def answer(self, candidate: Candidate, request: Request) -> Reply:
        """The searchset; `request` already has the parameters of its body. Raises FhirError."""
        pairs = request.search_parameters()
        if any(name == PARAMETER for name, _ in pairs):
            return await self._later(candidate, request, pairs)
        search = parse_search(
            candidate.facts.resource_type, pairs, candidate.facts.now_ms, self._core.settings.fhir_base
        )
        asked = _asked(candidate, search)
        access = await self._gate.admit(
            candidate, asked, lambda view: first_page_statement(view, self._names, search, self._count(search))
        )
        only = asked if asked is not None and len(asked) < len(candidate.mivs) else None  # in the form of `Page.asked`
        try:
            return self._gate.charged(access, await self._first(access, request, search, only))
        except BaseException:  # also when the client disconnects: what was not answered does not count
            await self._gate.forgive(access)
            raise

    async def _first(self, access: Access, request: Request, search: Search, asked: Sequence[str] | None) -> Reply:
        """The first page; `asked` are the MIVs that the search is about, None for all that the DiGA may read."""
        settings, now_ms = self._core.settings, access.view.now_ms
        search = _within(search, access.scopes)
        count = self._count(search)
        found = await first_page(self._core.pool, access.view, self._names, search, count, access.fetched)
        following = None
        if found.rest:
            page = _second(search, found, count, now_ms + settings.page_link_seconds * 1000, asked)
            following = await self._link(access, page)
        total = found.total if search.total else None
        return await self._reply(access, request, search, found, total, found.at_ms, following)

    async def _link(self, access: Access, page: Page) -> str:
        """The text of a link to `page`; the page's list is stored when it is too long for a link."""
        holder = access.pairing_id + access.client_id
        if len(page.keys) <= MOST_LINKED and len(link := self._links.seal(page, holder)) <= LONGEST_LINK:
            return link
        rest_no = await keep(self._core.pool, access.view.patient_id, page.keys, page.expires_ms)
        return self._links.seal(replace(page, rest_no=rest_no, keys=()), holder)

    def _count(self, search: Search) -> int:
        settings = self._core.settings
        wanted = settings.search_default_count if search.count is None else search.count
        return min(wanted, settings.search_max_count)

    def _used(self, request: Request, search: Search) -> Pairs:
        """The parameters as used, for the self link (FHIR search.html#conformance): without empty ones, and with a page
        size of at most `search_max_count`."""
        count = str(self._count(search))
        return [(name, count if name == "_count" else value) for name, value in request.search_parameters() if value]

    async def _later(self, candidate: Candidate, request: Request, pairs: Pairs) -> Reply:
        """The page of a link. Raises FhirError 400, and 410 for a link that has expired."""
        links = [(name, value) for name, value in pairs if name not in SETTLED]
        if len(links) != 1:
            raise malformed("The link to a further page must be used unchanged")
        page = self._links.open(links[0][1], _holder(candidate), candidate.facts.now_ms)
        if page.resource_type != candidate.facts.resource_type:
            raise malformed("The link to a further page must be used unchanged")
        access = await self._gate.admit(candidate, page.asked, counts=False)
        request = replace(request, parameters=[*links, *request.representation()])  # the self link has these
        found = await later_page(self._core.pool, access.view, page.search, page.rest)
        further = page.next()
        following = None if further is None else self._links.seal(further, _holder(candidate))
        return await self._reply(access, request, page.search, found, page.total, page.at_ms, following)

    async def _reply(
        self,
        access: Access,
        request: Request,
        search: Search,
        found: Found,
        total: int | None,
        at_ms: int,
        following: str | None,
    ) -> Reply:
        """The searchset of one page. `total` counts the matches of all pages, `at_ms` is Bundle.meta.lastUpdated, and
        `following` is the text of the link to the next page."""
        base = self._core.settings.fhir_base
        links = {"self": _url(base, search, [*self._used(request, search), *request.representation()])}
        if following is not None:
            links["next"] = _url(base, search, [(PARAMETER, following), *request.representation()])
        mivs = [miv for miv in self._core.catalog.mivs if miv.valueset in access.scopes.valuesets]
        frame = _Frame(links, total, instant(at_ms), warnings(search, mivs, access.view.terms))
        fmt, pretty = request.check_representation()
        builder = Builder(self._core, access, fmt)
        if pretty or search.subset != WHOLE:
            return await self._of_objects(request, search, found, frame, builder)
        return await self._of_pieces(fmt, search, found, frame, builder)

    async def _of_objects(
        self, request: Request, search: Search, found: Found, frame: _Frame, builder: Builder
    ) -> Reply:
        """Made from resources as objects: for parts of resources, or indented."""
        breath, resources = Breath(), []
        for mode, row, key in builder.entries(found, search):
            resources.append((mode, search.subset.of(builder.resource(row, key[0]), included=mode == INCLUDE)))
            await breath.take()
        builder.counted()
        if frame.notice is not None:
            resources.append((OUTCOME, frame.notice))
        bundle = search_bundle(self._core.settings.fhir_base, resources, frame.links, frame.total, frame.updated)
        return await aside(len(resources) > LARGE_ENTRIES, request.reply, bundle)

    async def _of_pieces(self, fmt: Format, search: Search, found: Found, frame: _Frame, builder: Builder) -> Reply:
        """Made from pieces of bytes (ddr.fhir.pieces), which is faster."""
        breath, entry, entries = Breath(), entry_pieces(self._core.settings.fhir_base, fmt), []
        for mode, row, key in builder.entries(found, search):
            logical_id = self._core.ids.encode(*key)
            entries.append(entry(mode, TYPES[key[0]], logical_id, builder.piece(row, key[0], logical_id)))
            if not len(entries) % SMALL_ENTRIES:
                await breath.take()
        builder.counted()
        if frame.notice is not None:
            entries.append(entry(OUTCOME, "", "", piece(frame.notice, fmt)))
        return rendered(search_document(entries, frame.links, frame.total, frame.updated, fmt), fmt)


def _metric_types(catalog: MivCatalog) -> dict[str, dict[str, Any]]:
    """DeviceMetric.type by system and code of the values."""
    found: dict[str, dict[str, Any]] = {}
    for miv in catalog.mivs:
        for code in miv.codes:
            found.setdefault(code.system, {})[code.code] = metric_type(code.system, code.code)
    return found


def _codes(catalog: MivCatalog) -> dict[str, str]:
    """The codes of values, by themselves and in lower case: LOINC and HDDT's own system are case-insensitive."""
    found = [code.code for miv in catalog.mivs for code in miv.codes]
    return {code.lower(): code for code in found} | {code: code for code in found}


def _units(catalog: MivCatalog) -> tuple[Units, Units]:
    """The units of values, by those in which they are compared, and by the names in values where these differ."""
    units: dict[str, dict[str, Decimal]] = {}
    stated: dict[str, dict[str, Decimal]] = {}
    codes = [code for miv in catalog.mivs for code in miv.codes]
    parts: list[MivCode | MivComponent] = [*codes, *(part for code in codes for part in code.components)]
    for part in parts:
        if part.unit is None:
            continue
        common, factor = to_common(part.unit)
        units.setdefault(common, {})[part.unit] = factor
        called, of_text = to_common(part.unit_text or part.unit)
        if called != common:
            stated.setdefault(called, {})[part.unit] = of_text
    return units, stated


def _within(search: Search, scopes: Scopes) -> Search:
    """The search, in which `_has` reveals nothing about resources of a type that may not be seen (SCO-008)."""
    return replace(search, has=tuple(replace(one, granted=scopes.opens(one.source)) for one in search.has))


def _asked(candidate: Candidate, search: Search) -> list[str] | None:
    """The MIVs whose measurements the search asks for: it counts towards the Grace-Period of each (OPS-028). None for a
    search that returns no measurements."""
    if search.resource_type != "Observation" and all(one.source != "Observation" for one in search.revincludes):
        return None
    return [
        miv.valueset
        for miv in candidate.mivs
        if all(any(covers(miv, token) for token in tokens) for tokens in codes(search))
    ]


def _second(search: Search, found: Found, count: int, expires_ms: int, asked: Sequence[str] | None) -> Page:
    """The page after the first one, which has `count` matches."""
    return Page(
        resource_type=search.resource_type,
        rest_no=None,
        offset=0,
        count=count,
        length=found.total - count,
        total=found.total if search.total else None,
        includes=tuple(search.includes),
        revincludes=tuple(search.revincludes),
        expires_ms=expires_ms,
        at_ms=found.at_ms,
        polled=any(item.name == "_lastUpdated" for item in search.filters),
        subset=search.subset,
        keys=found.rest,
        asked=asked,
    )


def _holder(candidate: Candidate) -> str:
    return candidate.token.pairing_id + candidate.token.client_id


def _url(base: str, search: Search, pairs: Pairs) -> str:
    query = urlencode(pairs, safe=":/,$")
    return f"{base}/{search.resource_type}{'?' if query else ''}{query}"
