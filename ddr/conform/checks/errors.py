"""Invalid requests and the response to each (HDDT error-codes.md, use_of_hl7_fhir.md)."""

from __future__ import annotations

from ddr.conform.check import Need, check
from ddr.conform.found import key_of
from ddr.conform.judging import expect_refused
from ddr.conform.kit import Kit
from ddr.conform.verdict import NotApplicable, expect

PATIENT = (Need.PATIENT,)
TYPES = ("Observation", "Device", "DeviceMetric")


@check("RS-024", "RS-020", needs=PATIENT)
def unknown_parameters_are_refused(kit: Kit) -> None:
    """An unknown parameter gets 400, and the diagnostics name it: "Unknown search parameter …"."""
    form = "application/x-www-form-urlencoded"
    for kind in TYPES:
        answer = kit.views[0].get(f"{kind}?there-is-none=1")
        posted = kit.views[0].post_uncounted(f"{kind}/_search", "there-is-none=1", form)
        for one in (answer, posted):
            expect_refused(one, 400, "Unknown search parameter")
            expect("there-is-none" in one.text, "the parameter is not named", one)


@check("RS-048", "RS-024", needs=PATIENT)
def lenient_changes_nothing(kit: Kit) -> None:
    """`Prefer: handling=lenient` does not make an unknown parameter pass, and `strict` does not change the refusal."""
    for handling in ("lenient", "strict"):
        answer = kit.views[0].get("Observation?there-is-none=1", prefer=f"handling={handling}")
        expect_refused(answer, 400)


@check("RS-025", "RS-020", needs=PATIENT)
def malformed_dates_are_refused(kit: Kit) -> None:
    """An invalid date gets 400: wrong form, wrong prefix, days that do not exist.

    Days without hyphens are left to the recorder: HDDT's own examples have them (retrieving-data.md).
    """
    for text in (
        "xx2025",
        "2025-13-01",
        "2025-02-30",
        "yesterday",
        "2025-01-01T25:00:00Z",
        "gtlt2026",
        "ge",
    ):
        expect_refused(kit.views[0].get(f"Observation?date={text}"), 400)


@check("RS-025", "RS-020", needs=PATIENT)
def reversed_ranges_are_refused(kit: Kit) -> None:
    """A range that ends before it begins gets 400."""
    expect_refused(kit.views[0].get("Observation?date=ge2025-03-01&date=le2025-02-01"), 400)


@check("RS-026", "RS-020", needs=PATIENT)
def unknown_includes_are_refused(kit: Kit) -> None:
    """An `_include` or `_revinclude` that does not exist gets 400."""
    for text in (
        "_include=Observation:foo",
        "_include=Foo:bar",
        "_include:iterate=Observation:foo",
        "_revinclude=Observation:foo",
    ):
        expect_refused(kit.views[0].get(f"Observation?{text}"), 400)


@check("RS-031", "RS-035", needs=PATIENT)
def malformed_controls_are_refused(kit: Kit) -> None:
    """`_count`, `_sort` and quantities that make no sense get 400."""
    for text in ("_count=many", "_count=-1", "_sort=foo"):
        answer = kit.views[0].get(f"Observation?{text}")
        expect(answer.status == 400, f"{text} is not refused with 400", answer)
        expect(answer.issue, "no OperationOutcome", answer)


@check("RS-027", "RS-020", needs=PATIENT)
def unknown_ids_are_404(kit: Kit) -> None:
    """A read of an id that does not exist gets 404 and "Resource … is not known"."""
    for kind in TYPES:
        for key in (f"{kind}/there-is-none", f"{kind}/{'0' * 32}"):
            said = tuple(f"Resource {name} is not known" for name in (key, key.partition("/")[2]))
            expect_refused(kit.views[0].get(key), 404, said)


@check("RS-028", "RS-020", needs=PATIENT)
def unknown_versions_are_404(kit: Kit) -> None:
    """A version that does not exist gets 404 and "Version … is not valid for resource …"."""
    declared = [
        kind for kind in TYPES if "vread" in {one.get("code") for one in kit.declared(kind).get("interaction") or ()}
    ]
    asked = 0
    for kind in declared:
        for one in kit.views[0].listed(kind).matches[:1]:
            asked += 1
            for version in ("99999", "0", "there-is-none", "01", "-1", "9" * 40):
                answer = kit.views[0].get(f"{key_of(one)}/_history/{version}")
                names = (key_of(one), one["id"])  # HDDT does not say whether the type is included
                said = tuple(f"Version {version} is not valid for resource {name}" for name in names)
                expect_refused(answer, 404, said)
    if not asked:
        raise NotApplicable("vread is not declared, or there is nothing to read")


@check("RS-020", needs=PATIENT)
def unknown_types_are_404(kit: Kit) -> None:
    """A resource type that is not served gets 404 with an OperationOutcome."""
    for path in ("Medication", "Observation/a/b/c", "there-is-none"):
        answer = kit.views[0].get(path)
        expect(answer.status == 404, f"/{path} is not answered with 404", answer)
        expect(answer.issue, f"/{path}: no OperationOutcome", answer)


@check("RS-031", needs=PATIENT)
def junk_is_refused_politely(kit: Kit) -> None:
    """Junk in URLs and ids is refused with 4xx, never with 5xx."""
    long = "a" * 3000
    for path in ("Observation?code=%00", "Observation?code=%ff%fe", f"Observation/{long}", f"Device?type={long}"):
        answer = kit.views[0].get(path)
        polite = answer.status < 500 and answer.status != 0
        expect(polite, f"answered {answer.status or 'not at all'}", answer)
