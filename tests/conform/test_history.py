"""A recorder may serve a longer history than HDDT requires: without its terms nobody can say that it is too long."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from ddr.conform.authorization import OBSERVATION
from ddr.conform.laws.times import milliseconds
from ddr.conform.run import run
from ddr.conform.target import MIV, Terms, with_terms
from ddr.conform.verdict import Verdict
from tests.conform.test_endings import CHECKS, FHIR, bundle, check, kit

GLUCOSE = MIV + "blood-glucose-measurement"
MEASURED = datetime.now(UTC) - timedelta(days=300)
VALUE = {
    "resourceType": "Observation",
    "id": "1",
    "effectiveDateTime": MEASURED.isoformat(timespec="seconds"),
    "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]},
}
EMPTY, ALL = "before-the-history-is-empty", "history-is-not-exceeded"


def answer(request: httpx.Request) -> httpx.Response:
    """One value from three hundred days ago."""
    asked = request.url.params.get("date", "lt9999-01-01T00:00:00Z")
    since = asked.startswith("ge")  # from its time on
    found = bundle(VALUE) if since or milliseconds(asked.removeprefix("lt")) > MEASURED.timestamp() * 1000 else bundle()
    return httpx.Response(200, headers=FHIR, content=json.dumps({"scope": OBSERVATION + GLUCOSE, **found}))


@pytest.mark.parametrize(
    ("terms", "grace", "verdicts"),
    [
        ({}, None, {ALL: Verdict.PERSON, EMPTY: Verdict.PASSED}),
        ({}, 300, {ALL: Verdict.PERSON, EMPTY: Verdict.PASSED}),
        ({GLUCOSE: Terms(365, 300, 60)}, None, {ALL: Verdict.PASSED, EMPTY: Verdict.PASSED}),
        ({GLUCOSE: Terms(30, 300, 60)}, 300, {ALL: Verdict.FAILED, EMPTY: Verdict.FAILED}),
    ],
)
def test_a_longer_history_is_a_failure_of_what_is_registered_only(
    terms: dict[str, Terms], grace: int | None, verdicts: dict[str, Verdict]
) -> None:
    found = kit(answer)
    found.target = with_terms(replace(found.target, terms=terms), grace)
    results = run(found, [check(CHECKS[name].run, name) for name in verdicts])
    assert {one.check.name: one.verdict for one in results} == verdicts


@pytest.mark.parametrize(("status", "verdict"), [("final", Verdict.FAILED), ("entered-in-error", Verdict.PASSED)])
def test_what_was_withdrawn_is_no_history(status: str, verdict: Verdict) -> None:
    """A recorder may show it for as long as its former content would have been shown."""

    def told(_: httpx.Request) -> httpx.Response:
        content = {"scope": OBSERVATION + GLUCOSE, **bundle({**VALUE, "status": status})}
        return httpx.Response(200, headers=FHIR, content=json.dumps(content))

    found = kit(told)
    found.target = with_terms(replace(found.target, terms={GLUCOSE: Terms(30, 300, 60)}), 300)
    (result,) = run(found, [check(CHECKS[ALL].run, ALL)])
    assert result.verdict is verdict
