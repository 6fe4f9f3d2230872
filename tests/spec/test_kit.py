"""The checks of the conformance kit (ddr.conform), run once against our recorder, as evidence for requirements.

The tests beside it show what cannot be seen from outside, or not at a foreign recorder. tests/conform shows that the
checks find faults.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema  # type: ignore[import-untyped]
import pytest

from ddr.conform.catalogue import catalogue
from ddr.conform.check import Check, Need, all_checks
from ddr.conform.kit import Kit
from ddr.conform.report import model
from ddr.conform.report.html import html
from ddr.conform.report.junit import junit
from ddr.conform.report.model import Run, report
from ddr.conform.run import Result
from ddr.conform.verdict import Verdict
from tests import conformance
from tests.spec.examined import Examined

SCHEMA = json.loads(Path(model.__file__).with_name("schema.json").read_text())


@pytest.fixture(scope="module")
async def done(examined: Examined) -> tuple[Kit, list[Result]]:
    """A whole run, with everything that a check may need except an earlier run."""
    kit = examined.kit(data=True)
    return kit, await examined.run(kit)


def document(kit: Kit, results: Sequence[Result]) -> dict[str, Any]:
    """The report as its file contains it."""
    found = report(Run(kit, results, 0, 1000, ["ddr", "conform", "https://x"], "0"))
    loaded: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return loaded


# What a run against a test's recorder cannot examine, and the result of those checks.
ELSEWHERE = {
    Verdict.NOT_APPLICABLE: {
        "certificate-has-timestamps",
        "caa-record",
        "history-reaches-back",
        "refusals-say-when",
        "once-per-grace-period-is-served",
    },
    Verdict.PERSON: {"consent-page-is-understandable", "answers-are-quick"},
    Verdict.NOT_RUN: {
        "too-early-is-throttled",
        *(one.name for one in all_checks() if Need.EARLIER in one.needs),
    },
}
LOOKED_AT = [one for one in all_checks() if not any(one.name in names for names in ELSEWHERE.values())]
# The results of the scan are made up here (tests/spec/examined.py) and prove nothing; test_workers.py scans.
MADE_UP = ("tls-versions", "tls-cipher-suites", "tls-groups", "tls-signatures")


EVIDENCE = {one: () if one.name in MADE_UP else pytest.mark.requirement(*one.requirements) for one in LOOKED_AT}


@pytest.mark.parametrize("check", [pytest.param(one, id=one.name, marks=marks) for one, marks in EVIDENCE.items()])
async def test_our_recorder_passes(done: tuple[Kit, list[Result]], check: Check) -> None:
    """The kit is evidence for our own recorder, too: each check for its requirements (docs/conformance.md)."""
    (result,) = [one for one in done[1] if one.check is check]
    assert (result.verdict, result.text) == (Verdict.PASSED, "")


async def test_nothing_else_is_left_out(done: tuple[Kit, list[Result]]) -> None:
    for verdict, names in ELSEWHERE.items():
        assert {one.check.name for one in done[1] if one.verdict is verdict} == names


def test_what_only_a_public_name_can_show_is_the_operators_duty() -> None:
    checks = [one for one in all_checks() if one.name in ("certificate-has-timestamps", "caa-record")]
    assert {name for one in checks for name in one.requirements} <= conformance.duties().keys()


async def test_a_later_run_compares_across_pairings(examined: Examined, done: tuple[Kit, list[Result]]) -> None:
    earlier = model.state(done[0], examined.ddr.clock(), {})
    checks = [one for one in all_checks() if one.run.__module__.endswith("two_times")]
    results = await examined.run(examined.kit(earlier=earlier), checks)
    assert {one.check.name: (one.verdict, one.text) for one in results} == {
        one.name: (Verdict.PASSED, "") for one in checks
    }


async def test_reports_hold_no_secrets(done: tuple[Kit, list[Result]]) -> None:
    kit, results = done
    secrets = [view.access_token for view in kit.views] + [view.refresh_token for view in kit.views]
    evidence = [Result(one.check, Verdict.FAILED, "x", tuple(kit.wire.exchanges), 0, 0) for one in results[:1]]
    text = json.dumps(document(kit, evidence)) + html(report(Run(kit, evidence, 0, 0, ["ddr"], "0")))
    secrets += [view.pairing.callback["code"] for view in kit.views]
    secrets += [view.pairing.request.verifier for view in kit.views]
    assert not [one for one in secrets if one in text]
    assert "$ACCESS_TOKEN" in text


async def test_report_follows_its_schema(done: tuple[Kit, list[Result]], pytestconfig: pytest.Config) -> None:
    found = document(*done)
    conformance.keep_document(pytestconfig, "kit.json", json.dumps(found).encode())
    jsonschema.validate(found, SCHEMA)
    chapters = {one["chapter"] for one in found["chapters"]}
    assert chapters == {one.chapter for one in catalogue().values() if one.binds}


async def test_junit_and_html_tell_the_same(done: tuple[Kit, list[Result]]) -> None:
    found = document(*done)
    root = ElementTree.fromstring(junit(found))
    assert len(root.findall(".//testcase")) == len(found["checks"])
    page = html(found)
    assert all(one["check"] in page for one in found["checks"])
    assert "<script" not in page
