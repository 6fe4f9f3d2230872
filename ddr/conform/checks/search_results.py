"""The form of a searchset: order, pages, includes, POST like GET, totals, links (FHIR R4 search.html, HDDT)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from ddr.client.answers import at_same_server
from ddr.client.errors import Refused
from ddr.conform.agree import NO_PAGES, answered, unpaged
from ddr.conform.check import Need, check
from ddr.conform.exchange import Exchange, Json
from ddr.conform.found import key_of, matches, mode
from ddr.conform.kit import Kit
from ddr.conform.laws.naive import has_code, references
from ddr.conform.laws.observations import code
from ddr.conform.laws.times import effective, milliseconds, updated
from ddr.conform.verdict import Advised, Failed, NoData, NotApplicable, NotRun, expect
from ddr.conform.view import Circle, Elsewhere, View

PATIENT = (Need.PATIENT,)
TYPES = ("Observation", "Device", "DeviceMetric")
FORM = "application/x-www-form-urlencoded"
EDGES = (0, 1)  # of a period: FHIR leaves open whether sorting uses its beginning or its end


def _full(kit: Kit) -> Iterator[View]:
    """Views with Observations. Raises NotApplicable when there is none."""
    found = [view for view in kit.views if view.everything.matches]
    if not found:
        raise NoData("the test patient has no data")
    yield from found


def _read(view: View) -> Sequence[Exchange]:
    """The pages of everything, up to one that leads to another server. Raises NotRun."""
    try:
        return view.everything.pages
    except Elsewhere as error:
        return error.shown


def _answered(view: View) -> Sequence[Exchange]:
    """The same. Raises Failed for an invalid response: most checks look at the result of this search, and would not run
    without it. A recorder that is busy (503) may be asked later."""
    try:
        return _read(view)
    except Circle as error:
        raise Failed(error.text, *error.shown) from None
    except NotRun as error:
        if any(one.status not in (200, 503) or (one.status == 200 and not _is_bundle(one)) for one in error.shown):
            raise Failed(error.text, *error.shown) from None
        raise


def _is_bundle(answer: Exchange) -> bool:
    return answer.json.get("resourceType") == "Bundle"


@check("RS-032", "OBS-001", "RS-002", needs=PATIENT, searches=1)
def search_is_answered_with_a_searchset(kit: Kit) -> None:
    """A search is answered with a Bundle of type searchset, from the first page to the last."""
    for view in kit.views:
        for kind in TYPES:
            for page in answered(view, kind, "").pages if kind != "Observation" else _answered(view):
                found = page.json.get("type")
                expect(found == "searchset", f"{kind}: type is {found}", page)


@check("RS-039", needs=PATIENT, searches=1)
def entries_are_complete(kit: Kit) -> None:
    """Each entry has fullUrl, resource and search.mode; none is repeated (FHIR R4 bundle.html)."""
    for view in kit.views:
        seen: set[str] = set()
        for page in (page for kind in TYPES for page in view.listed(kind).pages):
            for entry in page.json.get("entry") or ():
                resource, kind = entry.get("resource") or {}, mode(entry)
                if kind == "outcome":
                    continue
                expect(kind in ("match", "include"), f"search.mode is {kind}", page)
                url = str(entry.get("fullUrl", ""))
                expect(url.endswith(key_of(resource)), f"fullUrl {url} is not that of {key_of(resource)}", page)
                expect(kind == "include" or key_of(resource) not in seen, f"{key_of(resource)} comes twice", page)
                if kind == "match":
                    seen.add(key_of(resource))


@check("RS-039", needs=PATIENT, searches=1)
def total_is_right(kit: Kit) -> None:
    """`total`, where it is given, counts all matches of all pages."""
    limited: list[Exchange] = []
    for view in kit.views:
        for kind in TYPES:
            found = view.listed(kind)
            total = found.pages[0].json.get("total")
            text = f"{view.name}: total is {total}, there are {len(found.matches)} matches"
            # With one Device there is no second page to judge by.
            more = kind != "Observation" and isinstance(total, int) and total > len(found.matches) > 1
            if more and len(found.pages) == 1 and view.following(view.get(f"{kind}?_count=1")) is None:
                limited += found.pages  # the other Observations are read by their time
                continue
            expect(total is None or total == len(found.matches), text, found.pages[0])
    if limited:
        raise Advised(
            "fewer matches are returned than total says, and there are no pages, which HDDT recommends", *limited[:1]
        )


@check("OBS-018", needs=PATIENT, searches=2)
def newest_comes_first(kit: Kit) -> None:
    """`_sort=-date&_count=1` returns the latest Observation, with `code` the latest of that code."""
    for view in _full(kit):
        everything = view.everything.matches
        latest = max(everything, key=lambda one: _bound(one, 0))
        _expect_newest(view, everything)
        others = {code(one) for one in everything} - {code(latest), ""}
        for name in sorted(others)[:1]:
            _expect_newest(view, [one for one in everything if has_code(one.get("code"), name)], name)


def _expect_newest(view: View, known: list[Json], name: str = "") -> None:
    answer = view.search(f"Observation?{f'code={name}&' if name else ''}_sort=-date&_count=1")
    expect(answer.status == 200, "not answered with 200", answer)
    found = matches(answer)
    expect(len(found) == 1, f"{len(found)} matches on a page of one", answer)
    expect(not name or has_code(found[0].get("code"), name), f"{key_of(found[0])} is of another code", answer)
    good = any(_bound(found[0], edge) >= max(_bound(one, edge) for one in known) for edge in EDGES)
    expect(good, f"{key_of(found[0])} is not the latest", answer)


def _bound(one: Json, edge: int) -> int:
    time = effective(one)
    return time[edge] if time else 0


@check("RS-035", needs=PATIENT, searches=2)
def sort_orders(kit: Kit) -> None:
    """`_sort` orders by date (with a minus in descending order) over all pages, and loses nothing.

    Device and DeviceMetric are ordered by `_lastUpdated`, where they can be searched by it.
    """
    for view in _full(kit):
        everything = view.everything.matches
        wanted = {str(one["id"]) for one in everything}
        size = max(1, min(50, len(wanted) // 3))
        for text, sign in (("_sort=date", 1), ("_sort=-date", -1)):
            found = answered(view, "Observation", f"{text}&_count={size}")
            orders = [[sign * _bound(one, edge) for one in found.matches] for edge in EDGES]
            expect(any(one == sorted(one) for one in orders), f"{text} is not in order", *found.pages[:1])
            if unpaged(view, "Observation", found, size):
                shown = len(found.matches)
                firsts = [sorted(sign * _bound(one, edge) for one in everything)[:shown] for edge in EDGES]
                good = any(one == first for one, first in zip(orders, firsts, strict=True))
                expect(good, f"{text}&_count={size} does not return the first match", *found.pages)
                continue
            lost = wanted - {str(one["id"]) for one in found.matches}
            expect(not lost, f"{text} loses {len(lost)}", *found.pages[:1])
    kinds: list[str] = []
    with suppress(NotRun):  # without a CapabilityStatement this is unknown
        kinds = [kind for kind in ("Device", "DeviceMetric") if "_lastUpdated" in kit.parameters(kind)]
    for view in kit.views:
        _expect_devices_in_order(view, kinds)


def _expect_devices_in_order(view: View, kinds: Iterable[str]) -> None:
    """A recorder that sorts by other keys only may refuse this: the keys are left to it."""
    for kind in kinds:
        for text, sign in (("_sort=_lastUpdated", 1), ("_sort=-_lastUpdated", -1)):
            answer = view.get(f"{kind}?{text}")
            stamps = [sign * updated(one) for one in matches(answer) if "lastUpdated" in (one.get("meta") or {})]
            expect(stamps == sorted(stamps), f"{kind}?{text} is not in order", answer)


@check("RS-038", "RS-035", needs=PATIENT, searches=1)
def pages_lose_and_repeat_nothing(kit: Kit) -> None:
    """With a small `_count`, no page has more matches, and all pages together have each match once."""
    for view in _full(kit):
        everything = [str(one["id"]) for one in view.everything.matches]
        size = max(1, min(7, len(everything) // 3))
        found = answered(view, "Observation", f"_count={size}")
        for page in found.pages:
            expect(len(matches(page)) <= size, f"more than {size} matches on a page", page)
        if unpaged(view, "Observation", found, size) and len(everything) > size:
            raise Advised(NO_PAGES, *found.pages)
        ids = [str(one["id"]) for one in found.matches]
        expect(len(ids) == len(set(ids)), "a match is on two pages", *found.pages[:2])
        total = found.pages[0].json.get("total", len(ids))
        expect(total == len(ids), f"total is {total}, on all pages there are {len(ids)}", found.pages[0])
        lost = set(everything) - set(ids)
        expect(not lost, f"{view.name}: {len(lost)} matches are on no page", *found.pages[:2])


@check("RS-038", needs=PATIENT, searches=1)
def links_name_the_search(kit: Kit) -> None:
    """A searchset has a link `self`; while there are more matches it has `next`, which leads to the same server."""
    pages = [page for view in kit.views for page in _read(view) if matches(page)]
    if not pages:
        raise NoData("the test patient has no data")
    for page in pages:
        links = {str(one.get("relation")): str(one.get("url")) for one in page.json.get("link") or ()}
        expect("self" in links, "no link self", page)
        try:
            at_same_server(page.url, links.get("next", ""))
        except Refused:
            raise Failed("the link next leads elsewhere", page) from None


@check("OBS-017", needs=PATIENT, searches=1)
def includes_bring_the_devices(kit: Kit) -> None:
    """`_include=Observation:device` and `:iterate=DeviceMetric:source` add every device that matches refer to."""
    for view in _full(kit):
        found = view.everything
        for one in found.matches:
            for key in references(one, "device"):
                _expect_included(found.included, key, one, found.origin[key_of(one)])
                for behind in references(found.included.get(key, {}), "source"):
                    _expect_included(found.included, behind, one, found.origin[key_of(one)])


def _expect_included(included: dict[str, Json], key: str, one: Json, shown: Exchange) -> None:
    expect("#" in key or key in included, f"{key} of {key_of(one)} is not included", shown)


@check("OBS-017", needs=PATIENT, searches=2)
def includes_bring_nothing_else(kit: Kit) -> None:
    """Only resources that matches refer to are included (with `:iterate` also indirectly); without `_include` none."""
    for view in _full(kit):
        found = view.everything
        wanted = {key for one in found.matches for key in references(one, "device")}
        wanted |= {key for one in found.included.values() for key in references(one, "source")}
        extra = set(found.included) - wanted
        expect(not extra, f"included though nothing refers to it: {min(extra, default='')}", found.pages[0])
        near = answered(view, "Observation", "_include=Observation:device&_count=50")
        further = set(near.included) - {key for one in near.matches for key in references(one, "device")}
        expect(not further, f"included though no match refers to it: {min(further, default='')}", near.pages[0])
        plain = answered(view, "Observation", "_count=3")
        expect(not plain.included, "included without _include", plain.pages[0])


@check("RS-034", "OBS-001", "DEV-001", "DEV-024", needs=PATIENT, searches=3)
def post_search_equals_get(kit: Kit) -> None:
    """POST _search finds the same as GET."""
    for view in kit.views:
        for kind in TYPES:
            ids = [key_of(one) for one in view.listed(kind).matches]
            text = "_count=100"
            ask = view.post if kind == "Observation" else view.post_uncounted
            answer = ask(f"{kind}/_search", text, FORM)
            expect(answer.status == 200, f"POST {kind}/_search is not answered with 200", answer)
            found = [key_of(one) for one in matches(answer)]
            expect(set(found) <= set(ids), f"POST {kind}/_search finds other resources", answer)
            more = any(one.get("relation") == "next" for one in answer.json.get("link") or ())
            text = f"POST {kind}/_search finds {len(found)} of {len(ids)}"
            all_given = view.listed(kind)  # without pages it returns no more
            ends = len(all_given.pages) == 1 and len(found) in (100, all_given.most)
            expect(len(found) == len(ids) or (more and found) or ends, text, answer)
            for key in ids[:1]:
                answer = ask(f"{kind}/_search", f"_id={key.partition('/')[2]}", FORM)
                expect([key_of(one) for one in matches(answer)] == [key], f"POST {kind}/_search by _id", answer)


SAMPLED = 12


def _sampled(found: list[Json]) -> list[Json]:
    """At most this many of them, from the first to the last."""
    step = max(1, -(-len(found) // SAMPLED))
    return [*found[:-1:step], *found[-1:]]


@check("RS-040", "OBS-001", "DEV-001", "DEV-024", "RS-002", needs=PATIENT, searches=1)
def what_is_found_can_be_read(kit: Kit) -> None:
    """Each resource that a search returns can be read by its id and is the same; at most a dozen are tried."""
    for view in kit.views:
        for kind in TYPES:
            for one in _sampled(view.listed(kind).matches):
                answer = view.get(key_of(one))
                expect(answer.status == 200, f"{key_of(one)} cannot be read", answer)
                expect(key_of(answer.json) == key_of(one), f"{key_of(one)} is another resource", answer)
                _expect_same(one, answer)


def _expect_same(found: Json, answer: Exchange) -> None:
    """The resource as read equals the search's, unless it changed meanwhile."""
    read = answer.json
    before, now = found.get("meta") or {}, read.get("meta") or {}
    number = "versionId" if "versionId" in {*before, *now} else "lastUpdated"  # FHIR requires neither
    if before.get(number) != now.get(number):
        stamps = [milliseconds(str(one["lastUpdated"])) for one in (before, now) if "lastUpdated" in one]
        later = stamps == sorted(stamps)
        expect(later, f"{key_of(found)} is older than in the search", answer)
        return
    status = {"status"} if found.get("resourceType") == "Device" else set()  # the present one (DEV-013)
    for name in set(found) | set(read):
        if name not in status and found.get(name) != read.get(name):
            raise Failed(f"{key_of(found)}: {name} differs from the search, although the version is the same", answer)


@check("DEV-009", "RS-002", needs=PATIENT, searches=1)
def versions_can_be_read(kit: Kit) -> None:
    """Where vread is declared, the version that a search returned can be read and is the same."""
    declared = [
        kind for kind in TYPES if "vread" in {one.get("code") for one in kit.declared(kind).get("interaction") or ()}
    ]
    if not declared:
        raise NotApplicable("vread is not declared")
    for view in kit.views:
        for kind in declared:
            for one in _sampled(view.listed(kind).matches):
                version = (one.get("meta") or {}).get("versionId")
                answer = view.get(f"{key_of(one)}/_history/{version}")
                expect(answer.status == 200, f"version {version} of {key_of(one)} cannot be read", answer)
                told = (answer.json.get("meta") or {}).get("versionId")
                expect(told == version, f"version {told} instead of {version}", answer)
                _expect_same(one, answer)
