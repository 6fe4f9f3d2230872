"""Each parameter of the searches for Device and DeviceMetric against a naive filter (HDDT fhir-api-device.md)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator

from ddr.conform.agree import NO_PAGES, agree, answered, literal, query, unpaged
from ddr.conform.check import Need, check
from ddr.conform.exchange import Exchange, Json
from ddr.conform.found import matches
from ddr.conform.kit import Kit
from ddr.conform.laws.naive import Case, codings, near, references, starts
from ddr.conform.verdict import Advised, NoData, NotApplicable, expect
from ddr.conform.view import View

PATIENT = (Need.PATIENT,)
DEVICE, METRIC = "Device", "DeviceMetric"


def _each(kit: Kit, kind: str, look: Callable[[View, list[Json]], None], having: Callable[[Json], object]) -> None:
    """`look` at each view with resources `having` something. Raises NotApplicable when there is none."""
    seen = False
    for view in kit.views:
        found = [one for one in view.listed(kind).matches if having(one)]
        if found:
            seen = True
            look(view, found)
    if not seen:
        raise NoData(f"the test patient has no such {kind}")


def _names(one: Json) -> Iterator[str]:
    """The texts that device-name searches: all names, and the type's text and display (FHIR R4 Device)."""
    for name in one.get("deviceName") or ():
        yield str(name.get("name", ""))
    kind = one.get("type") or {}
    if "text" in kind:
        yield str(kind["text"])
    for coding in kind.get("coding") or ():
        yield str(coding.get("display", ""))


@check("DEV-006", needs=PATIENT)
def search_by_device_name(kit: Kit) -> None:
    """`device-name` matches the beginning of the name only, ignoring case."""

    def look(view: View, found: list[Json]) -> None:
        name = str(found[0]["deviceName"][0]["name"])
        for text in (name, _upper(name), name[: max(1, len(name) // 2)].lower(), name[1:] or name):
            agree(view, DEVICE, _beginning(query(device__name=literal(text)), _names, text))
        agree(view, DEVICE, Case(query(device__name="there is none such"), lambda one: False))

    _each(kit, DEVICE, look, lambda one: one.get("deviceName"))


@check("DEV-006", "RS-050", needs=PATIENT)
def search_by_manufacturer(kit: Kit) -> None:
    """`manufacturer` matches the beginning, ignoring case and accents."""

    def look(view: View, found: list[Json]) -> None:
        for name in sorted({str(one["manufacturer"]) for one in found})[:3]:
            for text in (name, _plain(name)):
                agree(view, DEVICE, _beginning(query(manufacturer=literal(text)), _makers, text))

    _each(kit, DEVICE, look, lambda one: one.get("manufacturer"))


def _upper(text: str) -> str:
    """In capitals; a sharp s stays: whether "SS" finds it is left to the server."""
    return "".join(char.upper() if len(char.upper()) == 1 else char for char in text)


def _plain(text: str) -> str:
    """In lower case, without accents; ligatures and signs stay."""
    return "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char)).lower()


def _beginning(query: str, of: Callable[[Json], Iterator[str]], text: str) -> Case:
    """A search for the beginning of a text; whether punctuation and spaces count is left to the server."""
    return Case(query, lambda one: starts(of(one), text), lambda one: not starts(of(one), text) and near(of(one), text))


def _makers(one: Json) -> Iterator[str]:
    if "manufacturer" in one:
        yield str(one["manufacturer"])


@check("DEV-006", needs=PATIENT)
def search_by_device_type(kit: Kit) -> None:
    """`type` finds by code, with the system or without; with another system it finds nothing."""

    def look(view: View, found: list[Json]) -> None:
        system, code = next(codings(found[0]["type"]))
        for text in (code, f"{system}|{code}"):
            agree(view, DEVICE, Case(query(type=text), lambda one: (system, code) in codings(one.get("type"))))
        agree(view, DEVICE, Case(query(type=f"http://example.org/none|{code}"), lambda one: False))

    _each(kit, DEVICE, look, lambda one: any(codings(one.get("type"))))


@check("RS-035", needs=PATIENT)
def search_devices_by_id(kit: Kit) -> None:
    """`_id` finds one or several Devices or DeviceMetrics; `_include` adds the Device of a DeviceMetric."""
    for kind in (DEVICE, METRIC):

        def look(view: View, found: list[Json], kind: str = kind) -> None:
            own, both = found[-1]["id"], (found[0]["id"], found[-1]["id"])
            agree(view, kind, Case(query(_id=own), lambda one: one["id"] == own))
            agree(view, kind, Case(query(_id=",".join((*both, "there-is-none"))), lambda one: one["id"] in both))
            if kind == METRIC:
                _expect_sources(view, found)

        if any(view.listed(kind).matches for view in kit.views):
            _each(kit, kind, look, lambda one: one.get("id"))


def _expect_sources(view: View, found: list[Json]) -> None:
    """The Devices of these DeviceMetrics, and nothing else."""
    wanted = {key for one in found for key in references(one, "source") if "#" not in key}
    answer = answered(view, METRIC, "_include=DeviceMetric:source")
    lost, more = wanted - set(answer.included), set(answer.included) - wanted
    expect(not lost, f"_include=DeviceMetric:source does not add {min(lost, default='')}", answer.pages[0])
    expect(not more, f"_include=DeviceMetric:source adds {min(more, default='')}", answer.pages[0])


@check("DEV-025", needs=PATIENT)
def search_metrics_by_source(kit: Kit) -> None:
    """`source`, where declared, finds the DeviceMetrics of a Device, and nothing for a Device that does not exist."""
    if "source" not in kit.parameters(METRIC):
        raise NotApplicable("source is not declared")

    def look(view: View, found: list[Json]) -> None:
        device = next(references(found[0], "source"))
        agree(view, METRIC, Case(query(source=device), lambda one: device in references(one, "source")))
        agree(view, METRIC, Case(query(source="Device/there-is-none"), lambda one: False))

    _each(kit, METRIC, look, lambda one: any(references(one, "source")))


@check("RS-035", "RS-038", needs=PATIENT)
def devices_come_in_pages(kit: Kit) -> None:
    """With `_count`, no page of Device or DeviceMetric has more matches, and all pages have each match once."""
    seen, ends = False, list[Exchange]()
    for view in kit.views:
        for kind in (DEVICE, METRIC):
            if len(view.listed(kind).matches) < 2:
                continue
            seen = True
            first = answered(view, kind, "_count=1")
            if unpaged(view, kind, first, 1):
                ends += first.pages
                continue
            found = agree(view, kind, Case(query(_count="1"), lambda _: True))
            for page in found.pages:
                expect(len(matches(page)) <= 1, f"{kind}: more than one match on a page of one", page)
    if not seen:
        raise NoData("the test patient has fewer than two devices")
    if ends:
        raise Advised(NO_PAGES, ends[0])
