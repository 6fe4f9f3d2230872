"""Registered terms and actual service: Grace-Period, Historic-Data-Period, delay, status feed, outages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlencode

from ddr.client.oauth import seconds_told
from ddr.conform.check import Need, check
from ddr.conform.found import key_of, matches
from ddr.conform.judging import expect_refused
from ddr.conform.kit import Kit
from ddr.conform.laws.chunks import series
from ddr.conform.laws.codes import VALUESETS
from ddr.conform.laws.naive import has_code
from ddr.conform.laws.times import effective, is_instant, milliseconds, span, written
from ddr.conform.pacing import SOON
from ddr.conform.target import MIV, limits
from ddr.conform.verdict import Advised, NeedsPerson, NoData, NotApplicable, NotRun, expect
from ddr.conform.view import View
from ddr.durations import DAY_MS, MINUTE_MS

PATIENT = (Need.PATIENT,)
LONG_AGO = "2000-01-01T00:00:00Z"
STATES = {"operational", "demoted", "unavailable"}
# What a feed says about each fault and maintenance (operational-requirements.md), by the beginnings of usual names.
TOLD = {
    "start": re.compile("start|begin|from$|since"),
    "end": re.compile("end(?!point)|until|to$"),
    "cause": re.compile("cause|reason|description|message"),
    "functions": re.compile("functions|affected|endpoint|services|components"),
}


@check("REG-003", "OPS-013")
def terms_keep_the_limits(kit: Kit) -> None:
    """The registered history is no shorter, and the Grace-Period no longer, than HDDT allows."""
    if not kit.target.terms:
        raise NeedsPerson(
            "compare the terms in the HIIS-VZ with the limits of the MIVs; no terms were given to this run"
        )
    for miv, own in kit.target.terms.items():
        allowed = limits(miv)
        text = f"{miv}: {own.historic_days} days of history, grace {own.grace_seconds} s"
        expect(own.historic_days >= allowed.historic_days and own.grace_seconds <= allowed.grace_seconds, text)


@check("OPS-014", needs=(Need.PATIENT, Need.THROTTLE), searches=1)
def too_early_is_throttled(kit: Kit) -> None:
    """A search within the Grace-Period, if refused, gets 429 (or 503) with the code throttled and Retry-After."""
    view = kit.views[0]
    if not view.pace.grace:
        raise NotApplicable("there is no Grace-Period")
    assert view.everything
    answer = view.send("GET", "Observation")
    if answer.status == 200:
        raise NotApplicable("the recorder does not refuse")
    expect(answer.status in (429, 503), f"refused with {answer.status}", answer)
    expect(answer.issue.get("code") == "throttled", f"code is {answer.issue.get('code')}", answer)
    seconds = seconds_told(answer.headers)
    expect(seconds is not None, "Retry-After is missing, or neither seconds nor a date", answer)
    expect((seconds or 0.0) <= view.pace.grace + 1, "Retry-After is longer than the Grace-Period", answer)


@check("OPS-028", needs=PATIENT, searches=1)
def reads_are_not_throttled(kit: Kit) -> None:
    """Reads, Device and DeviceMetric do not count towards the Grace-Period: no 429 asks for a wait beyond seconds."""
    for one in kit.wire.exchanges:
        path = one.url.removeprefix(kit.target.fhir_base)
        free = re.match(r"/(Device|DeviceMetric)([/?]|$)|/Observation/[A-Za-z0-9.-]+$", path)
        seconds = seconds_told(one.headers)
        soon = seconds is not None and seconds <= SOON  # a limit on requests (OPS-011)
        expect(one.status != 429 or not free or soon, f"throttled: {one.told}", one)


@check("OPS-015", "OPS-014")
def refusals_say_when(kit: Kit) -> None:
    """Every 429 and 503 throttled of this run has Retry-After, in seconds or as a date; every other 503 should have it.

    A 429 of the FHIR server has the OperationOutcome that HDDT prescribes (checked in JSON only).
    """
    seen = [one for one in kit.wire.exchanges if one.status in (429, 503)]
    if not seen:
        raise NotApplicable("nothing was refused for load, maintenance or the Grace-Period during this run")
    silent = [one for one in seen if not one.headers.get("retry-after")]
    for one in seen:
        told = one.headers.get("retry-after", "")
        limited = one.status == 429 or one.issue.get("code") == "throttled"
        expect(told or not limited, "Retry-After is missing", one)
        if one.status == 429 and one.url.startswith(f"{kit.target.fhir_base}/") and "xml" not in one.media_type:
            expect_refused(one, 429, "Rate limit exceeded", "throttled")
        expect(
            not told or seconds_told(one.headers) is not None, f"Retry-After is {told}: neither seconds nor a date", one
        )
    if silent:
        raise Advised("Retry-After is missing", *silent[:1])


@check("OPS-013", needs=PATIENT, searches=2)
def once_per_grace_period_is_served(kit: Kit) -> None:
    """A search after the Grace-Period is answered, and no refusal demands a wait longer than the Grace-Period."""
    if not any(view.pace.grace for view in kit.views):
        raise NotApplicable("there is no Grace-Period")
    longest = max(view.pace.grace for view in kit.views)
    for one in kit.wire.exchanges:
        seconds = seconds_told(one.headers) if one.status == 429 else None
        expect((seconds or 0.0) <= longest + 1, f"Retry-After is longer than the Grace-Period of {longest:.0f} s", one)
    for one in kit.due:
        expect(one.status != 429, f"refused although the Grace-Period of {longest:.0f} s is over", one)
    if not kit.due:
        raise NotRun("no search of this run came after the Grace-Period of the one before")


@check("OBS-016", "OBS-013", needs=PATIENT, searches=1)
def history_is_not_exceeded(kit: Kit) -> None:
    """Nothing older than the Historic-Data-Period of its kind is served."""
    if not any(miv in kit.target.terms for view in kit.views for miv in view.mivs):
        raise NeedsPerson("compare the age of the oldest data with the HIIS-VZ; no terms were given to this run")
    for view in kit.views:
        for miv in (one for one in view.mivs if one in kit.target.terms):
            days, known = kit.terms(miv).historic_days, VALUESETS.get(miv.removeprefix(MIV), frozenset())
            oldest = kit.now_ms() - (days + 1) * DAY_MS
            for one in view.everything.matches:
                time = effective(one)
                told = one.get("status") == "entered-in-error"  # that its former content is no longer valid
                good = told or time is None or time[1] >= oldest or not has_code(one.get("code"), *known)
                expect(good, f"{key_of(one)} is older than {days} days", view.everything.origin[key_of(one)])


@check("OBS-013", needs=PATIENT, searches=1)
def before_the_history_is_empty(kit: Kit) -> None:
    """A search for a time before the Historic-Data-Period is answered with 200 and no matches."""
    view = kit.views[0]
    before = LONG_AGO  # a history may be as long as the manufacturer likes
    if all(miv in kit.target.terms for miv in view.mivs):
        days = max((kit.terms(miv).historic_days for miv in view.mivs), default=30)
        before = written((kit.now_ms() - (days + 30) * DAY_MS) // 1000 * 1000)
    answer = view.search(f"Observation?{urlencode({'date': f'lt{before}'})}")
    expect(answer.status == 200, "not answered with 200", answer)
    # What began earlier and still applies, such as a reference value, is not history (LF-028).
    times = [effective(one) for one in matches(answer)]
    over = [time for time in times if time is None or time[1] < milliseconds(before)]
    expect(not over, f"{len(over)} matches before the history", answer)


@check("BG-013", "CGM-012", "BP-019", "LF-022", needs=PATIENT, searches=1)
def history_reaches_back(kit: Kit) -> None:
    """Data are served for as long as HDDT demands: there is data that is almost that old."""
    short = []
    for view in kit.views:
        for miv in view.mivs:
            days, known = limits(miv).historic_days, VALUESETS.get(miv.removeprefix(MIV), frozenset())
            times = [effective(one) for one in view.everything.matches if has_code(one.get("code"), *known)]
            oldest = min((time[0] for time in times if time), default=kit.now_ms())
            age = (kit.now_ms() - oldest) / DAY_MS
            if age < days - 2:
                short.append(f"{miv.removeprefix(MIV)} {age:.0f} of {days} days")
    if short:
        raise NotApplicable(f"the test patient's data are not old enough to tell: {', '.join(dict.fromkeys(short))}")


@check("DEV-014", "DEV-015", needs=PATIENT, searches=1)
def silent_devices_are_unknown(kit: Kit) -> None:
    """A worn sensor with values up to now is active; an expired sensor without recent values is not."""
    seen, quiet = False, ""
    for view in kit.views:
        for key, last in _last_values(view).items():
            device, silent = view.everything.included[key], kit.now_ms() - last
            status, shown, seen = device.get("status"), view.everything.origin[key], True
            if silent < MINUTE_MS:
                expect(status in ("active", "inactive"), f"{key} has values from this minute but is {status}", shown)
            if status == "active" and silent > DAY_MS:
                until = device.get("expirationDate")
                over = until is not None and span(until)[1] < kit.now_ms() - DAY_MS
                expect(
                    not over, f"{key} is active although it expired on {until} and has had no values for a day", shown
                )
                quiet = quiet or key
    if not seen:
        raise NoData("the test patient wears no sensor")
    if quiet:
        raise NeedsPerson(f"{quiet} is active without values for a day: acceptable only if it still synchronises")


def _last_values(view: View) -> dict[str, float]:
    """When each Device behind continuous values last measured, in milliseconds: over all its series."""
    found: dict[str, float] = {}
    for name, chunks in series(view.everything.matches).items():
        device = view.device_of(name)
        valued = [one.valued_until for one in chunks if one.tokens]
        if valued and device in view.everything.included:
            found[device] = max(*valued, found.get(device, 0.0))
    return found


@check("OPS-008")
def status_feed(kit: Kit) -> None:
    """A public feed states the status, the functions with their endpoints, and the time of an update."""
    if not kit.target.status_url:
        raise NeedsPerson("give the URL of the status feed (status_url), or check the feed yourself")
    answer = kit.wire.send("GET", kit.target.status_url, headers={"accept": "application/json"})
    expect(answer.status == 200, "not answered with 200", answer)
    found = answer.json
    if not found:
        raise NeedsPerson(
            "the feed is not a JSON object: check whether a machine can read it, and what it says", answer
        )
    expect(found.get("status") in STATES, f"status is {found.get('status')}", answer)
    times = [value for value in found.values() if is_instant(value)]
    expect(times, "the feed has no time of an update", answer)
    names = set(_names(found))
    missing = [word for word, forms in TOLD.items() if not any(map(forms.match, names))]
    if found["status"] == "operational" and len(missing) == len(TOLD):
        raise NeedsPerson("there is no outage now: check again during one, for start, end, cause and functions", answer)
    expect(not missing, f"missing: {', '.join(missing)}", answer)


def _names(found: object) -> Iterator[str]:
    """All suffixes of members' names that begin with one of their words (planned_start, plannedStart), in lower
    case."""
    for name, inner in found.items() if isinstance(found, dict) else ():
        words = re.findall("[A-Z]*[a-z0-9]+|[A-Z]+", name)
        yield from ("".join(words[place:]).lower() for place in range(len(words)))
        yield from _names(inner)
    for inner in found if isinstance(found, list) else ():
        yield from _names(inner)


@check("OPS-009")
def answers_are_quick(kit: Kit) -> None:
    """How long the responses took in this run."""
    times = sorted(one.seconds for one in kit.wire.exchanges if one.status)
    if not times:
        raise NotApplicable("no request was sent")
    late = times[int(len(times) * 0.95)]
    raise NeedsPerson(
        f"judge: of {len(times)} responses, half came within {times[len(times) // 2] * 1000:.0f} ms, "
        f"95 % within {late * 1000:.0f} ms"
    )
