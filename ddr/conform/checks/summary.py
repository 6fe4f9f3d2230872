"""$hddt-cgm-summary: its shape, its numbers against the chunks that were read, its parameters, its errors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

from ddr.conform.check import Need, check
from ddr.conform.exchange import Exchange, Json
from ddr.conform.found import key_of
from ddr.conform.judging import expect_media_type, expect_same_leaves
from ddr.conform.kit import Kit
from ddr.conform.laws import codes, summary
from ddr.conform.laws.chunks import series
from ddr.conform.laws.leaves import Leaves
from ddr.conform.laws.naive import codings
from ddr.conform.laws.times import span
from ddr.conform.verdict import Failed, NoData, NotApplicable, expect
from ddr.conform.view import View
from ddr.durations import DAY_MS

PATIENT = (Need.PATIENT,)
OPERATION = "Observation/$hddt-cgm-summary"
JSON, XML = "application/fhir+json", "application/fhir+xml"
BERLIN = summary.ZONES[1]
DAYS = 14
UNITS = {
    summary.MEAN_MASS: "mg/dL",
    summary.MEAN_MOLES: "mmol/L",
    summary.GMI: "%",
    summary.CV: "%",
    summary.DAYS: "d",
    summary.ACTIVE: "%",
}
VOLATILE = ("id", "fullUrl", "reference", "lastUpdated", "versionId", "timestamp")
Days = tuple[datetime, datetime]  # the first and the last instant of whole German days


def _views(kit: Kit) -> list[View]:
    """Views with chunks of continuous glucose. Raises NotApplicable when there is none."""
    found = [
        view for view in kit.views if view.sees("continuous-glucose-measurement") and series(view.everything.matches)
    ]
    if not found:
        raise NoData("the test patient has no continuous values")
    return found


def _days(kit: Kit, count: int) -> Days:
    """This many whole days up to yesterday: a recorder that cuts instants to dates sees the same period."""
    today = datetime.fromtimestamp(kit.now_ms() / 1000, BERLIN).date()
    first, last = (datetime.combine(today - timedelta(ago), time(), BERLIN) for ago in (count, 0))
    return first, last - timedelta(seconds=1)


def _body(days: Days | None = None, **more: object) -> str:
    parameters: list[Json] = [{"name": name, "valueBoolean": value} for name, value in more.items()]
    for name, at in zip(("effectivePeriodStart", "effectivePeriodEnd"), days or (), strict=False):
        parameters.append({"name": name, "valueDateTime": at.isoformat()})
    return json.dumps({"resourceType": "Parameters", **({"parameter": parameters} if parameters else {})})


def _asked(view: View, days: Days | None = None, **more: object) -> Exchange:
    return view.post(OPERATION, _body(days, **more), JSON)


def _fortnight(kit: Kit, view: View) -> Exchange:
    """The report of two weeks that most checks look at; requested once. Raises Failed, NotApplicable."""
    days = _days(kit, DAYS)
    return _served(view, view.once("summary", lambda: _asked(view, days)), days)


def _served(view: View, answer: Exchange, days: Days) -> Exchange:
    """A response that must be a report, unless data does not fill the period. Raises Failed, NotApplicable."""
    if answer.status == 200 and answer.json.get("resourceType") == "Bundle":
        return answer
    first = min(found[0].start for found in series(view.everything.matches).values())
    if first > days[0].timestamp() * 1000 and answer.issue:
        raise NotApplicable(f"data begin after {days[0]:%Y-%m-%d}, and the recorder refuses periods with missing data")
    raise Failed("a period full of data is not answered with a Bundle", answer)


def _resources(answer: Exchange, kind: str) -> list[Json]:
    found = [entry.get("resource") or {} for entry in answer.json.get("entry") or ()]
    return [one for one in found if one.get("resourceType") == kind]


def _by_code(answer: Exchange) -> dict[str, Json]:
    return {next(codings(one.get("code")), ("", ""))[1]: one for one in _resources(answer, "Observation")}


def _numbers(answer: Exchange) -> Iterator[tuple[str, Json]]:
    """Code and Quantity of every metric and every range that has a value."""
    for code, one in _by_code(answer).items():
        if "valueQuantity" in one:
            yield code, one["valueQuantity"]
        for part in one.get("component") or ():
            if "valueQuantity" in part:
                yield next(codings(part.get("code")), ("", ""))[1], part["valueQuantity"]


@check("SUM-008", "SUM-001", "SUM-009", needs=PATIENT, searches=1)
def summary_is_a_collection(kit: Kit) -> None:
    """The report is a Bundle of type collection with Observations of the summary and Devices only."""
    for view in _views(kit):
        answer = _fortnight(kit, view)
        found = answer.json
        expect(found.get("type") == "collection", f"type is {found.get('type')}", answer)
        expect_media_type(answer, JSON)
        expect(found.get("entry"), "the Bundle is empty", answer)
        for entry in found["entry"]:
            kind = (entry.get("resource") or {}).get("resourceType")
            expect(kind in ("Observation", "Device"), f"the report holds {kind}", answer)
        strange = sorted(_by_code(answer).keys() - codes.SUMMARY.keys())
        expect(not strange, f"the report holds Observations with the code {', '.join(strange)}", answer)


@check("RS-007", needs=PATIENT, searches=2)
def summary_in_xml(kit: Kit) -> None:
    """The report is also served in XML, with the same content."""
    for view in _views(kit)[:1]:
        days = _days(kit, DAYS)
        marked = view.post(OPERATION, _body(days), JSON, accept=XML)
        expect(marked.status == _fortnight(kit, view).status, "not answered in XML", marked)
        expect_media_type(marked, XML)
        try:
            expect_same_leaves("the report", _fortnight(kit, view), marked, _said)
        except Failed:  # data may have arrived meanwhile
            plain, marked = _asked(view, days), view.post(OPERATION, _body(days), JSON, accept=XML)
            expect_same_leaves("the report", plain, marked, _said)


def _said(leaves: Leaves) -> Leaves:
    """Without what varies between responses: a report may be made for each, with ids of its own (SUM-016)."""
    return Counter({leaf: count for leaf, count in leaves.items() if leaf[0].rpartition(".")[2] not in VOLATILE})


@check("SUM-010", "SUM-012", "SUM-011", needs=PATIENT, searches=1)
def summary_has_every_metric(kit: Kit) -> None:
    """All eight Observations are present, each once, with a value in its unit or with dataAbsentReason unknown."""
    for view in _views(kit):
        answer = _fortnight(kit, view)
        found = _by_code(answer)
        missing = [f"{words} ({code})" for code, words in codes.SUMMARY.items() if code not in found]
        expect(not missing, f"missing: {', '.join(missing)}", answer)
        expect(len(found) == len(_resources(answer, "Observation")), "a metric comes twice", answer)
        for code, unit in UNITS.items():
            value = found[code].get("valueQuantity")
            if value is None:
                reasons = [reason for _, reason in codings(found[code].get("dataAbsentReason"))]
                expect(reasons == ["unknown"], f"{code} has neither a value nor dataAbsentReason unknown", answer)
                continue
            good = value.get("code") == unit and value.get("system") == codes.UCUM
            expect(good, f"{code} is in {value.get('code')} of {value.get('system')}, not in {unit}", answer)
        parts = [next(codings(part.get("code")), ("", ""))[1] for part in found["106793-3"].get("component") or ()]
        expect(sorted(parts) == sorted(codes.RANGES), f"the ranges are {', '.join(parts) or 'none'}", answer)


def _near(value: Json, low: float, high: float) -> bool:
    """Whether a Quantity lies between the bounds, within one of its last digit."""
    found = Decimal(str(value.get("value")))
    exponent = found.as_tuple().exponent
    last = 10.0 ** min(0, exponent) if isinstance(exponent, int) else 1.0
    return low - last - 1e-9 <= float(found) <= high + last + 1e-9


@check("SUM-012", "SUM-010", needs=PATIENT, searches=1)
def summary_numbers_fit_together(kit: Kit) -> None:
    """Both means agree, GMI follows from them, the ranges sum to 100 %, and the days are days of the period."""
    for view in _views(kit):
        answer = _fortnight(kit, view)
        found = dict(_numbers(answer))
        mean = found.get(summary.MEAN_MASS)
        if mean:
            number, rounded = float(mean["value"]), 0.5
            low, high = number - rounded, number + rounded
            moles = found.get(summary.MEAN_MOLES)
            fits = moles is None or _near(moles, low / summary.MOLAR[1], high / summary.MOLAR[0])
            expect(fits, f"{number} mg/dL and {(moles or {}).get('value')} mmol/L are not the same", answer)
            gmi = found.get(summary.GMI)
            fits = gmi is None or _near(gmi, 3.31 + 0.02392 * low, 3.31 + 0.02392 * high)
            expect(fits, f"GMI is {(gmi or {}).get('value')} % at a mean of {number} mg/dL", answer)
        shares = [float(found[code]["value"]) for code in codes.RANGES if code in found]
        expect(not shares or abs(sum(shares) - 100) <= 2.5, f"the ranges sum to {sum(shares):.2f} %", answer)
        for code, most in ((summary.DAYS, DAYS + 1), (summary.ACTIVE, 100)):
            if code in found:
                good = 0 <= float(found[code]["value"]) <= most
                expect(good, f"{code} is {found[code]['value']}, of {DAYS} days", answer)


def _periods(days: Days) -> list[tuple[float, float]]:
    """The requested instants, and the same dates in UTC: a recorder may cut to dates."""
    ends = [tuple(datetime.combine(one.date(), one.time(), zone) for one in days) for zone in (BERLIN, UTC)]
    return [(first.timestamp() * 1000, last.timestamp() * 1000 + 999) for first, last in ends]


def _bounds(kit: Kit, view: View) -> summary.Bounds:
    """The ranges that the chunks of this view allow."""
    everything = view.everything
    doubtful = [
        key
        for key, metric in everything.included.items()
        if {one.get("state") for one in metric.get("calibration") or ()} & {"not-calibrated", "calibration-required"}
    ]
    origins = {key_of(one): one for one in everything.matches}
    found = summary.samples(series(everything.matches), origins, doubtful)
    return summary.bounds(found, _periods(_days(kit, DAYS)))


@check("SUM-019", needs=PATIENT, searches=1)
def summary_agrees_with_the_chunks(kit: Kit) -> None:
    """Each metric lies in a range of values that the chunks give by the usual ways to calculate it."""
    for view in _views(kit):
        answer = _fortnight(kit, view)
        wrong = _disagreeing(_bounds(kit, view), answer)
        if wrong:  # data may have arrived meanwhile
            view.again("Observation")
            answer = view.once("summary", lambda view=view: _asked(view, _days(kit, DAYS)), anew=True)  # type: ignore[misc]
            wrong = _disagreeing(_bounds(kit, view), _served(view, answer, _days(kit, DAYS)))
        expect(not wrong, f"{view.name}: {wrong}", answer)


def _disagreeing(bounds: summary.Bounds, answer: Exchange) -> str:
    for code, value in _numbers(answer):
        ways = bounds.get(code, [])
        slack = 0.5 if code in (summary.DAYS, summary.ACTIVE) else 0.0  # both are estimates by name
        if not any(_near(value, low - slack, high + slack) for low, high in ways):
            told = " or ".join(f"{low:.2f} to {high:.2f}" for low, high in ways) or "nothing"
            return f"{code} is {value.get('value')}, the chunks give {told}"
    return ""


def _period(answer: Exchange) -> tuple[int, int]:
    """First and last millisecond of the report, in milliseconds."""
    found = next(iter(_by_code(answer).values()), {}).get("effectivePeriod") or {}
    return span(str(found["start"]))[0], span(str(found["end"]))[1]


@check("SUM-003", "SUM-004", "SUM-002", needs=PATIENT, searches=1)
def summary_without_a_period(kit: Kit) -> None:
    """Without parameters the report covers at least seven days up to today."""
    for view in _views(kit):
        answer = _served(view, _asked(view), _days(kit, 7))
        first, last = _period(answer)
        day, now = DAY_MS, kit.now_ms()
        expect(first <= now - 6 * day, "the report reaches back less than seven days", answer)
        expect(now - day <= last <= now + 2 * day, "the report does not end today", answer)


@check("SUM-005", "SUM-002", needs=PATIENT, searches=1)
def summary_of_seven_days(kit: Kit) -> None:
    """A period of seven days is served, and the report covers it."""
    for view in _views(kit):
        _expect_period(view, _days(kit, 7))


@check("SUM-020", "CGM-012", needs=PATIENT, searches=1)
def summary_of_thirty_days(kit: Kit) -> None:
    """A period of thirty days is served, and the report covers it."""
    for view in _views(kit):
        first, last = _days(kit, 30)
        _expect_period(view, (first + timedelta(days=1), last))  # by the minute, thirty have not passed since midnight


def _expect_period(view: View, days: Days) -> None:
    """A report of the requested period, to the day: a recorder that cuts instants to dates means the same. It may cover
    a shorter one, the part of it with values (SUM-007)."""
    answer = _served(view, _asked(view, days), days)
    found, asked, day = _period(answer), [at.timestamp() * 1000 for at in days], DAY_MS
    told = f"asked for {days[0]:%Y-%m-%d} to {days[1]:%Y-%m-%d}, but the report covers another period"
    expect(found[0] >= asked[0] - day and found[1] <= asked[1] + day, told, answer)
    chunks = [one for each in series(view.everything.matches).values() for one in each]
    times = [one.start + place * one.step for one in chunks for place, text in enumerate(one.tokens) if text != "E"]
    if inside := [at for at in times if asked[0] <= at <= asked[1]]:
        expect(found[0] <= min(inside) + day and found[1] >= max(inside) - day, told, answer)


@check("SUM-013", "SUM-002", needs=PATIENT, searches=2)
def summary_brings_related_devices(kit: Kit) -> None:
    """With `related` the report also has the Devices whose values it counts; without `related` it has none."""
    for view in _views(kit):
        plain, days = _fortnight(kit, view), _days(kit, DAYS)
        expect(not _resources(plain, "Device"), "the report has Devices although `related` was not requested", plain)
        answer = _served(view, _asked(view, days, related=True), days)
        found = {one.get("serialNumber") or one.get("id") for one in _resources(answer, "Device")}
        known = {key_of(one): one.get("serialNumber") or one.get("id") for one in view.listed("Device").matches}
        low, high = _periods(days)[0]
        wanted = set()
        for name, chunks in series(view.everything.matches).items():
            inside = [one for one in chunks if one.tokens and one.start <= high and one.valued_until >= low]
            device = view.device_of(name)
            if any(low + one.step < one.start and one.valued_until < high - one.step for one in inside):
                wanted.add(known.get(device))
        expect(found <= set(known.values()), "the report has a Device that the DiGA cannot see", answer)
        expect(not wanted or found, "the report has no Device although it counts values", answer)


@check("SUM-014", "SUM-015", needs=PATIENT, searches=1)
def summary_without_data(kit: Kit) -> None:
    """A period without data is answered with an OperationOutcome (not-found, MSG_NO_MATCH), never an empty Bundle."""
    for view in _views(kit)[:1]:
        past = timedelta(days=400)
        first, last = _days(kit, 7)
        answer = _asked(view, (first - past, last - past))
        expect(answer.issue, "no OperationOutcome", answer)
        expect(answer.issue.get("code") == "not-found", f"code is {answer.issue.get('code')}", answer)
        _expect_code(answer, "MSG_NO_MATCH")


def _expect_code(answer: Exchange, code: str) -> None:
    found = [one for _, one in codings(answer.issue.get("details"))]
    expect(code in found, f"details have the code {', '.join(found) or 'none'}, not {code}", answer)


@check("SUM-015", needs=PATIENT)
def summary_errors(kit: Kit) -> None:
    """Unknown parameters, bad values and malformed requests are refused with the prescribed codes."""
    parameter = {"name": "effectivePeriodStart", "valueDateTime": "yesterday"}
    cases = (
        ("MSG_PARAM_UNKNOWN", _body(foo=True)),
        ("MSG_PARAM_INVALID", json.dumps({"resourceType": "Parameters", "parameter": [parameter]})),
        ("MSG_BAD_SYNTAX", '{"resourceType": "Parameters", "parameter": ['),
    )
    for view in _views(kit)[:1]:
        for code, body in cases:
            answer = view.post_uncounted(OPERATION, body, JSON)
            expect(400 <= answer.status < 500, f"not refused ({code})", answer)
            issue = answer.issue
            told = f"{issue.get('severity')}/{issue.get('code')}"
            expect(told == "error/invalid", f"the issue is {told}, not error/invalid ({code})", answer)
            _expect_code(answer, code)
