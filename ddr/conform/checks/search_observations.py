"""Each parameter of the Observation search against a naive filter over everything that was read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial

from ddr.conform.agree import agree, cut, query
from ddr.conform.check import Need, check
from ddr.conform.exchange import Json
from ddr.conform.kit import Kit
from ddr.conform.laws.codes import VALUESETS
from ddr.conform.laws.naive import Case, bounded, codings, compared, has_code, in_range, quantities, references
from ddr.conform.laws.times import Range, effective, is_finer, updated, written
from ddr.conform.verdict import NoData, NotApplicable, expect
from ddr.conform.view import View
from ddr.durations import DAY_MS, HOUR_MS

PATIENT = (Need.PATIENT,)
UCUM = "http://unitsofmeasure.org"
OBSERVATION = "Observation"
EAST = timezone(timedelta(hours=5, minutes=30))
ZONES = range(-14 * HOUR_MS, 12 * HOUR_MS + 1, HOUR_MS)  # from UTC, in milliseconds


def _each(
    kit: Kit, look: Callable[[View, list[Json]], None], *mivs: str, having: Callable[[Json], object] = bool
) -> None:
    """`look` at each view that has Observations `having` something, of these MIVs. Raises NotApplicable if there are
    none."""
    seen = False
    for view in kit.views:
        if mivs and not any(view.sees(miv) for miv in mivs):
            continue
        if any(having(one) for one in view.everything.matches):
            seen = True
            look(view, view.everything.matches)
    if not seen:
        raise NoData(f"the test patient has no such data{' of ' + ' or '.join(mivs) if mivs else ''}")


def _codes(found: list[Json]) -> list[tuple[str, str]]:
    """Codings of HDDT; a search need not find a manufacturer's own codings beside them."""
    known = {name for valueset in VALUESETS.values() for name in valueset}
    return sorted({coding for one in found for coding in codings(one.get("code")) if coding[1] in known})


def _case(wanted: Callable[[Json], bool], **parameters: str) -> Case:
    return Case(query(**parameters), wanted)


@check("OBS-007", "OBS-010", needs=PATIENT, searches=3)
def search_by_code(kit: Kit) -> None:
    """`code` finds the Observations with exactly this code; a list finds those with any of its codes."""

    def look(view: View, found: list[Json]) -> None:
        codes = [code for _, code in _codes(found)]
        agree(view, OBSERVATION, _case(lambda one: has_code(one["code"], codes[0]), code=codes[0]))
        agree(view, OBSERVATION, _case(lambda one: has_code(one["code"], *codes[:2]), code=",".join(codes[:2])))

    _each(kit, look)


@check("OBS-011", needs=PATIENT, searches=3)
def search_by_code_with_system(kit: Kit) -> None:
    """`code` works with its system in front; with another system or with none (`|code`) it finds nothing."""

    def look(view: View, found: list[Json]) -> None:
        system, code = _codes(found)[-1]
        agree(view, OBSERVATION, _case(lambda one: (system, code) in codings(one["code"]), code=f"{system}|{code}"))
        none = f"http://example.org/none|{code},|{code}"
        agree(view, OBSERVATION, _case(lambda one: ("", code) in codings(one["code"]), code=none))
        both = {_codes(found)[0], (system, code)}
        listed = ",".join("|".join(one) for one in sorted(both))
        agree(view, OBSERVATION, _case(lambda one: not both.isdisjoint(codings(one["code"])), code=listed))

    _each(kit, look)


@check("OBS-008", "SCO-010", needs=PATIENT, searches=2)
def search_by_foreign_code(kit: Kit) -> None:
    """A code outside the granted ValueSets finds nothing, and does not affect other codes in the list."""
    foreign = "8867-4"  # heart rate: no MIV

    def look(view: View, found: list[Json]) -> None:
        _, code = _codes(found)[0]
        agree(view, OBSERVATION, _case(lambda one: False, code=foreign))
        agree(view, OBSERVATION, _case(lambda one: has_code(one["code"], code), code=f"{foreign},{code}"))

    _each(kit, look)


def _middle(found: list[Json]) -> int:
    """An instant in the middle of the times of measurement, in milliseconds."""
    times = sorted(time for one in found if (time := effective(one)))
    first, last = times[len(times) // 2]
    return first + min(last - first, 7_200_000) // 2 // 1000 * 1000


@check("OBS-010", "RS-050", needs=PATIENT, searches=11)
def search_by_date(kit: Kit) -> None:
    """`date` finds what R4 says, with each prefix and without, for instants of any time zone and for days."""

    def look(view: View, found: list[Json]) -> None:
        asked = _middle(found)
        for prefix in ("gt", "ge", "lt", "le", "sa", "eb"):
            agree(view, OBSERVATION, _dated(prefix, asked))
        moments = sorted(time for one in found if "effectiveDateTime" in one and (time := effective(one)))
        at = moments[len(moments) // 2][0] // 1000 * 1000 if moments else asked
        for prefix in ("", "ne"):
            agree(view, OBSERVATION, _dated(prefix, at))
        agree(view, OBSERVATION, _dated("ge", asked, EAST))
        for prefix in ("ge", ""):
            _expect_found_on_day(view, found, prefix)

    _each(kit, look)


def _dated(prefix: str, asked: int, zone: tzinfo = UTC) -> Case:
    def wanted(one: Json) -> bool:
        time = effective(one)
        return time is not None and in_range(prefix or "eq", time, (asked, asked + 999))

    return _case(wanted, date=f"{prefix}{written(asked, zone)}")


def _expect_found_on_day(view: View, found: list[Json], prefix: str) -> None:
    """A search by the day with the most measurements finds at least those that are on it in every zone: the zone of the
    day is left to the server (FHIR R4 search.html#date)."""

    def ways(time: Range | None, begin: int) -> list[bool]:
        days = ((begin + away, begin + away + DAY_MS - 1) for away in ZONES)
        return [time is not None and in_range(prefix or "eq", time, day) for day in days]

    times = [effective(one) for one in found]
    days = {time[0] // DAY_MS * DAY_MS for time in times if time}
    fewest, begin = max((min(map(sum, zip(*(ways(time, day) for time in times), strict=True))), day) for day in days)
    text = query(date=f"{prefix}{written(begin)[:10]}")
    case = Case(text, lambda one: all(ways(effective(one), begin)), lambda one: any(ways(effective(one), begin)))
    answer = agree(view, OBSERVATION, case)
    told = f"{OBSERVATION}?{text} finds {len(answer.matches)}, in each zone {fewest} fit"
    enough = len(answer.matches) >= fewest or cut(view.everything, answer)
    expect(enough, told, answer.pages[0])


@check("OBS-010", needs=PATIENT, searches=1)
def search_by_dates(kit: Kit) -> None:
    """Two `date` parameters must both match: they form a range."""

    def look(view: View, found: list[Json]) -> None:
        low = _middle(found)
        high = low + DAY_MS
        both = f"{_dated('ge', low).query}&{_dated('lt', high).query}"

        def wanted(one: Json, low: int = low, high: int = high) -> bool:
            return _dated("ge", low).wanted(one) and _dated("lt", high).wanted(one)

        agree(view, OBSERVATION, Case(both, wanted))

    _each(kit, look)


@check("OBS-007", "OBS-012", needs=PATIENT, searches=1)
def search_by_code_and_date(kit: Kit) -> None:
    """Different parameters must all match."""

    def look(view: View, found: list[Json]) -> None:
        of = {code: [one for one in found if has_code(one["code"], code)] for _, code in _codes(found)}
        code = max(of, key=lambda code: len(of[code]))
        dated = _dated("ge", _middle(of[code]))  # amid those with this code, so that both leave some out

        def wanted(one: Json, code: str = code, dated: Case = dated) -> bool:
            return has_code(one["code"], code) and dated.wanted(one)

        agree(view, OBSERVATION, Case(f"code={code}&{dated.query}", wanted))

    _each(kit, look)


@check("RS-035", needs=PATIENT, searches=3)
def search_observations_by_id(kit: Kit) -> None:
    """`_id` finds one Observation or a list of them, and nothing for an id that does not exist."""

    def look(view: View, found: list[Json]) -> None:
        ids = [str(one["id"]) for one in found[:2]]
        agree(view, OBSERVATION, _case(lambda one: one["id"] == ids[0], _id=ids[0]))
        agree(view, OBSERVATION, _case(lambda one: one["id"] in ids, _id=",".join(ids)))
        agree(view, OBSERVATION, _case(lambda one: False, _id="there-is-none"))

    _each(kit, look)


@check("CGM-010", "RS-036", needs=PATIENT, searches=4)
def search_observations_by_last_updated(kit: Kit) -> None:
    """`_lastUpdated` finds the resources that changed after, since, before and until an instant."""

    def look(view: View, found: list[Json]) -> None:
        if "_lastUpdated" not in kit.parameters(OBSERVATION) and not view.sees("continuous-glucose-measurement"):
            raise NotApplicable("_lastUpdated is not declared, and nothing of continuous glucose is granted")
        times = sorted(updated(one) for one in found)
        asked = times[len(times) // 2]
        for prefix in ("gt", "ge", "lt", "le"):

            def wanted(one: Json, prefix: str = prefix) -> bool:
                return in_range(prefix, (updated(one), updated(one)), (asked, asked + (0 if asked % 1000 else 999)))

            text = query(_lastUpdated=f"{prefix}{written(asked)}")
            agree(view, OBSERVATION, Case(text, wanted, lambda one: _within(one, asked)))

    _each(kit, look)


def _within(one: Json, asked: int) -> bool:
    """Whether it changed within the requested millisecond, but not at its beginning: it may count as before or
    after."""
    return updated(one) == asked and is_finer(one["meta"]["lastUpdated"])


@check("BG-011", "LF-020", needs=PATIENT, searches=5)
def search_by_value_quantity(kit: Kit) -> None:
    """`value-quantity` compares the numbers of single measurements, with unit and without."""

    def look(view: View, found: list[Json]) -> None:
        pairs = sorted(pair for one in found for pair in quantities(one))
        unit, value = pairs[len(pairs) // 2]
        asked = value + Decimal("0.01")
        for prefix, named in (("gt", unit), ("lt", unit), ("lt", "")):
            agree(view, OBSERVATION, _quantity("value-quantity", prefix, asked, named, False))
        mine = [one for one in found if any(pair == (unit, value) for pair in quantities(one))]
        own = str(mine[0]["id"])
        for prefix, wanted in (("ge", [own]), ("gt", [])):  # of exactly this value
            text = query(value__quantity=f"{prefix}{value}|{UCUM}|{unit}", _id=own)
            agree(view, OBSERVATION, Case(text, partial(_among, wanted)))

    _each(kit, look, "blood-glucose-measurement", "lung-function-testing", having=_valued)


def _among(ids: Sequence[str], one: Json) -> bool:
    return one["id"] in ids


def _quantity(name: str, prefix: str, asked: Decimal, unit: str, components: bool) -> Case:
    def wanted(one: Json) -> bool:
        found = quantities(one, components)
        return any(unit in ("", code) and compared(prefix, value, asked) for code, value in found)

    text = f"{prefix}{asked}|{UCUM}|{unit}" if unit else f"{prefix}{asked}"
    return Case(query(**{name: text}), wanted, bounded)


def _valued(one: Json) -> bool:
    return any(quantities(one))


def _composed(one: Json) -> bool:
    return any(quantities(one, True))


PRESSURE = "blood-pressure-value"


@check("BP-014", needs=PATIENT, searches=2)
def search_by_component_code(kit: Kit) -> None:
    """`component-code` finds the Observations that have a component with this code."""

    def look(view: View, _: list[Json]) -> None:
        for code in ("8480-6", "8478-0"):

            def wanted(one: Json, code: str = code) -> bool:
                return any(has_code(part.get("code"), code) for part in one.get("component") or ())

            agree(view, OBSERVATION, _case(wanted, component__code=code))

    _each(kit, look, PRESSURE)


@check("BP-015", needs=PATIENT, searches=4)
def search_by_component_value(kit: Kit) -> None:
    """`component-value-quantity` compares the value of any component, with or without unit; no other unit matches."""

    def look(view: View, found: list[Json]) -> None:
        values = sorted(value for one in found for _, value in quantities(one, True))
        asked = values[(len(values) - 1) // 2] + Decimal("0.01")  # not above the greatest of all
        for prefix, unit in (("gt", "mm[Hg]"), ("lt", "mm[Hg]"), ("gt", ""), ("gt", "mg/dL")):
            agree(view, OBSERVATION, _quantity("component-value-quantity", prefix, asked, unit, True))

    _each(kit, look, PRESSURE, having=_composed)


@check("BP-016", "BP-017", needs=PATIENT, searches=2)
def search_by_component_code_and_value(kit: Kit) -> None:
    """`component-code-value-quantity` matches code and value of the same component."""
    if "component-code-value-quantity" not in kit.parameters(OBSERVATION):
        raise NotApplicable("component-code-value-quantity is not declared")

    def look(view: View, found: list[Json]) -> None:
        values = sorted(value for one in found for _, value in quantities(one, True))
        asked = values[(len(values) - 1) // 2] + Decimal("0.01")  # above a diastolic value, below a systolic one
        for code in ("8480-6", "8462-4"):

            def wanted(one: Json, code: str = code) -> bool:
                parts = [part for part in one.get("component") or () if has_code(part.get("code"), code)]
                return any(value > asked for _, value in quantities({"component": parts}, True))

            text = f"http://loinc.org|{code}$gt{asked}|{UCUM}|mm[Hg]"
            agree(view, OBSERVATION, _case(wanted, component__code__value__quantity=text))

    _each(kit, look, PRESSURE, having=_composed)


@check("OBS-019", needs=PATIENT, searches=2)
def search_by_declared_extras(kit: Kit) -> None:
    """Parameters declared beyond HDDT work as declared: `status` and `device`."""
    declared = kit.parameters(OBSERVATION)
    if not {"status", "device"} & set(declared):
        raise NotApplicable("neither status nor device is declared")

    def look(view: View, found: list[Json]) -> None:
        status, device = found[0].get("status"), next(references(found[0], "device"), "")
        if "status" in declared:
            agree(view, OBSERVATION, _case(lambda one: one.get("status") == status, status=str(status)))
        if "device" in declared and device:
            agree(view, OBSERVATION, _case(lambda one: device in references(one, "device"), device=device))

    _each(kit, look)


@check("RS-032", needs=PATIENT, searches=1)
def empty_searches_are_answered(kit: Kit) -> None:
    """A search without matches is answered with 200 and an empty searchset, for each type."""
    view = kit.views[0]
    for kind in ("Observation", "Device", "DeviceMetric"):
        found = agree(view, kind, _case(lambda one: False, _id="there-is-none"))
        total = found.pages[0].json.get("total", 0)
        expect(total == 0, f"total is {total}, and nothing is found", *found.pages)
