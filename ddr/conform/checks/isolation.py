"""What scopes hide, and the side channels that could reveal it (HDDT smart-scopes.md, fhir-api-observation.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlencode

from ddr.conform.agree import agree, literal, query
from ddr.conform.check import Need, check
from ddr.conform.exchange import Exchange, Json
from ddr.conform.found import key_of, matches
from ddr.conform.judging import login_name
from ddr.conform.kit import Kit
from ddr.conform.laws.codes import RANGES, SUMMARY, VALUESETS
from ddr.conform.laws.naive import Case, codings, has_code, references
from ddr.conform.target import MIV
from ddr.conform.verdict import Advised, NoData, NotApplicable, NotRun, expect
from ddr.conform.view import View

PATIENT = (Need.PATIENT,)
TWO = (Need.PATIENT, Need.TWO_DIGA)


@check("SCO-005", "OBS-006", needs=PATIENT, searches=2)
def only_granted_codes(kit: Kit) -> None:
    """A search without `code` returns exactly the codes of the granted ValueSets, as a search that names them does."""
    for view in kit.views:
        allowed = sorted({code for miv in view.mivs for code in VALUESETS.get(miv.removeprefix(MIV), ())})
        for one in view.everything.matches:
            codes = {code for _, code in codings(one.get("code"))}
            good = bool(codes & set(allowed))
            expect(good, f"{key_of(one)} has the code {', '.join(codes)}", view.everything.origin[key_of(one)])
        if allowed:
            agree(view, "Observation", Case(query(code=",".join(allowed)), lambda _: True))


@check("OBS-029", needs=PATIENT, searches=1)
def every_granted_miv_has_data(kit: Kit) -> None:
    """For each granted MIV there are data with at least one of its codes."""
    for miv in sorted({miv for view in kit.views for miv in view.mivs}):
        known = VALUESETS.get(miv.removeprefix(MIV), frozenset())
        views = [view for view in kit.views if miv in view.mivs]
        if not any(has_code(one.get("code"), *known) for view in views for one in view.everything.matches):
            raise NoData(f"the test patient has no data of {miv.removeprefix(MIV)}")


@check("SCO-006", "DEV-002", needs=PATIENT, searches=1)
def only_devices_behind_observations(kit: Kit) -> None:
    """A Device or DeviceMetric is visible only if a visible Observation refers to it."""
    for view in kit.views:
        metrics = {key_of(one): one for one in view.listed("DeviceMetric").matches}
        behind = {key for one in view.everything.matches for key in references(one, "device")}
        behind |= {key for name in behind if name in metrics for key in references(metrics[name], "source")}
        for kind in ("Device", "DeviceMetric"):
            found = view.listed(kind)
            for one in found.matches:
                text = f"{view.name}: no visible Observation refers to {key_of(one)}"
                expect(key_of(one) in behind, text, found.origin[key_of(one)])


@check("OBS-005", "OBS-004", "OBS-033", needs=PATIENT)
def subject_is_refused(kit: Kit) -> None:
    """An Observation search with `subject` or `patient`, in any form, gets 400, or the parameter is ignored."""
    for name in ("subject", "patient"):
        _named_patient_is_refused(kit.views[0], "Observation", name)


@check("DEV-005", "DEV-004", "OBS-033", needs=PATIENT)
def patient_is_refused(kit: Kit) -> None:
    """A search for devices with `patient`, in any form, is refused with 400, or the parameter is ignored."""
    for kind in ("Device", "DeviceMetric"):
        _named_patient_is_refused(kit.views[0], kind, "patient")


def _named_patient_is_refused(view: View, kind: str, name: str) -> None:
    """By GET and POST, plain, typed and chained; the own Pairing ID is treated like any other.

    HDDT demands that it is ignored, and recommends 400. Raises Failed, Advised.
    """
    own = view.sub
    posted = view.post_uncounted(f"{kind}/_search", urlencode({name: own}), "application/x-www-form-urlencoded")
    asked = ({name: "Patient/1"}, {f"{name}:Patient": own}, {f"{name}.identifier": own})
    answers = [posted, *(view.get(f"{kind}?{urlencode(one)}") for one in asked)]
    served = [answer for answer in answers if answer.status != 400]
    known = {key_of(one) for one in view.listed(kind).matches} if served else set()
    for answer in served:
        expect(answer.status == 200, f"{name} is neither refused with 400 nor ignored", answer)
        found = {key_of(one) for one in matches(answer)}
        expect(found <= known and bool(found) == bool(known), f"{name} changes the result", answer)
    if served:
        raise Advised(f"{name} is ignored, and not refused with 400", *served[:1])


def _hidden(kit: Kit, kind: str) -> list[tuple[View, Json]]:
    """For each view a resource that only another pairing sees, of this patient and of others. Raises NotApplicable."""
    found = []
    for view in kit.views:
        own = {key_of(one) for one in view.listed(kind).matches}
        for other in kit.views:
            found += [(view, one) for one in other.listed(kind).matches if key_of(one) not in own][:1]
    if not found:
        raise NotApplicable(f"no {kind} is hidden from one pairing and visible to another")
    return found


@check("SCO-001", "OBS-003", needs=TWO, searches=3)
def hidden_observations_are_not_found(kit: Kit) -> None:
    """Observations of another MIV or patient are not found by `_id` or `code`, and are not counted in `total`."""
    for view, one in _hidden(kit, "Observation"):
        code = next(codings(one.get("code")))[1]
        queries = [query(_id=str(one["id"]))]
        if not any(has_code(own.get("code"), code) for own in view.everything.matches):
            queries += [query(code=code, _summary="count"), query(code=code)]
        for text in queries:
            answer = view.search(f"Observation?{text}")
            if "_summary" in text and answer.status == 400:
                continue
            count = answer.json.get("total", len(matches(answer)))
            expect(answer.status == 200, "not answered with 200", answer)
            expect(count == 0, f"total reveals {count} hidden resources", answer)
            brought = [entry for entry in answer.json.get("entry") or () if _is(entry, "Observation")]
            expect(not brought, "a hidden Observation is returned", answer)


def _is(entry: Json, kind: str) -> bool:
    return (entry.get("resource") or {}).get("resourceType") == kind


@check("SCO-001", "OBS-003", needs=PATIENT, searches=1)
def links_belong_to_their_pairing(kit: Kit) -> None:
    """The link to a further page, followed with another pairing's token, returns nothing hidden from that pairing."""
    asked = 0
    for view in kit.views:
        others = [other for other in kit.views if other is not view and _hides(other, view)]
        if not others:
            continue
        page = view.search("Observation?_count=1")
        if url := view.following(page):
            for other in others:
                asked += 1
                _expect_only_own(other, other.get(url), f"a link of {view.name}")
    if not asked:
        raise NotApplicable("no search of one pairing has two pages with something that is hidden from another")


def _hides(other: View, view: View) -> bool:
    own = {key_of(one) for one in other.everything.matches}
    return any(key_of(one) not in own for one in view.everything.matches)


def _expect_only_own(view: View, answer: Exchange, what: str) -> None:
    """Fail for any resource in the response, at any depth, that the view does not find by a search."""
    for kind in ("Observation", "Device", "DeviceMetric"):
        known = {key_of(one) for one in view.listed(kind).matches}
        for one in _within(answer.json, kind):
            expect(key_of(one) in known, f"{what} returns {key_of(one)} to {view.name}, which must not see it", answer)


def _within(found: object, kind: str) -> Iterator[Json]:
    if isinstance(found, dict):
        if found.get("resourceType") == kind:
            yield found
        for inner in found.values():
            yield from _within(inner, kind)
    elif isinstance(found, list):
        for inner in found:
            yield from _within(inner, kind)


@check("SCO-004", "SCO-001", needs=PATIENT, searches=1)
def other_interactions_bring_nothing_hidden(kit: Kit) -> None:
    """History, a search over all types and a batch of reads, if supported, show only what a search finds."""
    batch = {"resourceType": "Bundle", "type": "batch", "entry": [_asking(kind) for kind in ("Observation", "Device")]}
    for view in kit.views:
        for path in ("_history", "Observation/_history", "Device/_history", "?_type=Observation,Device"):
            _expect_only_own(view, view.get(path), path)
        fields = {"content-type": "application/fhir+json"}
        _expect_only_own(view, view.send("POST", "", fields, json.dumps(batch), harmless=True), "a batch")


def _asking(kind: str) -> Json:
    return {"request": {"method": "GET", "url": kind}}


@check("SCO-006", needs=TWO)
def hidden_devices_are_not_found(kit: Kit) -> None:
    """A device of another MIV is found neither by its id nor by its name."""
    for view, one in _hidden(kit, "Device"):
        agree(view, "Device", Case(query(_id=str(one["id"])), lambda _: False))
        name = str(((one.get("deviceName") or [{}])[0]).get("name", ""))
        if name:
            answer = view.get(f"Device?{query(device__name=literal(name))}")
            ids = [(entry.get("resource") or {}).get("id") for entry in answer.json.get("entry") or ()]
            expect(one["id"] not in ids, "a hidden Device is found by its name", answer)


@check("SCO-006", needs=PATIENT, searches=1)
def reverse_includes_bring_nothing_hidden(kit: Kit) -> None:
    """`_revinclude`, where supported, adds only Observations that a search would find."""
    for view in kit.views:
        answer = view.search("Device?_revinclude=Observation:device")
        if answer.status == 400:
            raise NotApplicable("_revinclude is not supported")
        own = {key_of(one) for one in view.everything.matches}
        for entry in answer.json.get("entry") or ():
            resource = entry.get("resource") or {}
            hidden = resource.get("resourceType") == "Observation" and key_of(resource) not in own
            expect(not hidden, "_revinclude returns a hidden Observation", answer)


@check("SUM-017", needs=PATIENT)
def summary_needs_its_scope(kit: Kit) -> None:
    """$hddt-cgm-summary is refused to a DiGA without the scope of continuous glucose measurement."""
    view = next((one for one in kit.views if not one.sees("continuous-glucose-measurement")), None)
    if view is None:
        raise NotApplicable("every pairing has the scope of continuous glucose measurement")
    body = '{"resourceType": "Parameters"}'
    answer = view.send("POST", "Observation/$hddt-cgm-summary", {"content-type": "application/fhir+json"}, body)
    expect(answer.status in (401, 404), "the summary is not refused", answer)


@check("SUM-018", needs=PATIENT, searches=1)
def single_metrics_are_not_found(kit: Kit) -> None:
    """Metrics of the summary are not resources of their own: a search for their codes finds nothing."""
    view = next((one for one in kit.views if one.sees("continuous-glucose-measurement")), None)
    if view is None:
        raise NotRun("no pairing has the scope of continuous glucose measurement")
    agree(view, "Observation", Case(query(code=",".join((*SUMMARY, *RANGES))), lambda _: False))


@check("PRIV-001", "PRIV-004", needs=PATIENT, searches=1)
def nothing_names_the_patient(kit: Kit) -> None:
    """No response of the FHIR server contains the patient's login name or the Pairing ID of another pairing."""
    names = {view.patient: login_name(kit, kit.target.patients[view.patient].username) for view in kit.views}
    for view in kit.views:
        name, others = names[view.patient], [one for one in kit.views if one.sub not in ("", view.sub)]
        for kind in ("Observation", "Device", "DeviceMetric"):
            for page in view.listed(kind).pages:
                expect(not (name and name.search(page.text)), "a response contains the patient's login name", page)
                foreign = [other.name for other in others if other.sub in page.text]
                expect(not foreign, f"a response contains the Pairing ID of {', '.join(foreign)}", page)
    if None in names.values():
        raise NotApplicable("a login name is unknown, too short to search for, or a word that the recorder itself uses")


@check("PRIV-007", "PRIV-001", needs=PATIENT, searches=1)
def no_health_insurance_number(kit: Kit) -> None:
    """No response of this run contains an identifier of the statutory health insurance (KVNR)."""
    for view in kit.views:
        for kind in ("Observation", "Device", "DeviceMetric"):
            view.listed(kind)
    for one in kit.wire.exchanges:
        expect("kvid-10" not in one.text, "a response contains the naming system of the KVNR", one)
