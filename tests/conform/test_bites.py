"""The kit finds faults: each is found by the check that names it, and by no check of something else.

docs/conformance-kit.md has the table; `python -m tests.conform.test_bites` writes it.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ddr.conform.check import Check, all_checks
from ddr.conform.earlier import Earlier, remembered
from ddr.conform.found import key_of
from ddr.conform.kit import Kit
from ddr.conform.run import Result
from ddr.store.outages import notices
from ddr.store.outages.notices import Notice
from tests.conform.conftest import failed, with_pairings
from tests.conform.faults.changes import CHANGES
from tests.conform.faults.contents import CONTENTS, LATER
from tests.conform.faults.documents import DOCUMENTS
from tests.conform.faults.fault import Fault
from tests.conform.faults.oauth import AUTHORIZATION
from tests.conform.faults.persons import PERSONS
from tests.conform.faults.refusals import REFUSALS
from tests.conform.faults.searches import SEARCHES
from tests.conform.faults.summary import REPORTS
from tests.conform.faults.tamper import wrapping
from tests.spec.examined import Examined
from tests.spec.world import HOUR

PAGE = Path(__file__).parents[2] / "docs/conformance-kit.md"
WEAK = ("TLS_RSA_WITH_AES_128_CBC_SHA",)
FAULTS = (*DOCUMENTS, *AUTHORIZATION, *SEARCHES, *REFUSALS, *CONTENTS, *PERSONS, *REPORTS, *LATER)
TLS = (
    ("tls-1-1", "TLS 1.1 is accepted", {"versions": ("TLS 1.1", "TLS 1.2", "TLS 1.3")}, "tls-versions"),
    (
        "weak-suite",
        "a cipher suite without forward secrecy is accepted",
        {"suites": WEAK},
        "tls-cipher-suites",
    ),
    ("weak-group", "a group of 160 bits is accepted", {"groups": ("secp160r1",)}, "tls-groups"),
    ("sha-1", "signatures with SHA-1 are accepted", {"signatures": ("rsa_pkcs1_sha1",)}, "tls-signatures"),
)
CHECKS = {one.name: one for one in all_checks()}
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"


def named(*names: str) -> list[Check]:
    return [one for one in CHECKS.values() if one.name in names]


async def judged(
    examined: Examined, paired: Kit, seen_before: Earlier, fault: Fault, checks: Sequence[Check]
) -> list[Result]:
    """The results of these checks for a recorder with the fault."""
    kit = examined.kit(wrapping(fault.harm), seen_before if fault in LATER else None)
    if not fault.pairs:
        with_pairings(kit, paired)
    results = await examined.run(kit, checks)
    for old, new in zip(paired.views, kit.known_views, strict=False):
        if not fault.pairs:
            old.access_token, old.refresh_token = new.access_token, new.refresh_token
    return results


@pytest.fixture(scope="module")
async def seen_before(examined: Examined, paired: Kit) -> Earlier:
    """The memory of a run without a fault."""
    kit = examined.kit()
    with_pairings(kit, paired)
    kinds = ("Observation", "Device", "DeviceMetric")
    found = await asyncio.to_thread(
        lambda: {
            view.name: {key_of(one): remembered(one) for kind in kinds for one in view.listed(kind).matches}
            for view in kit.views
        }
    )
    return Earlier(examined.target.fhir_base, examined.ddr.clock(), found, {})


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_each_fault_is_found_by_its_check(
    examined: Examined, paired: Kit, seen_before: Earlier, fault: Fault
) -> None:
    results = await judged(examined, paired, seen_before, fault, named(fault.check, *fault.after))
    told = [(one.check.name, one.verdict, one.text) for one in results]
    assert fault.check in failed(results) <= {fault.check, *fault.also}, told


async def test_what_goes_on_hides_no_feed_without_functions(
    examined: Examined, paired: Kit, seen_before: Earlier
) -> None:
    """A disruption is announced, as on a machine so busy that the recorder finds one."""
    core, fault = examined.ddr.core, next(one for one in FAULTS if one.name == "status-without-functions")
    now_ms, told = core.clock(), ("Repair", "Reparatur", "", "", "")
    times = (now_ms + HOUR, now_ms + 2 * HOUR)
    await notices.add(core.pool, Notice("soon", True, "unavailable", ["data"], *times, *told, None, now_ms, now_ms))
    try:
        kept = await examined.run(examined.kit(), named(fault.check))
        results = await judged(examined, paired, seen_before, fault, named(fault.check))
    finally:
        await core.pool.execute("DELETE FROM outage_notice WHERE notice = 'soon'")
        await core.notices.read(core.pool, now_ms)
    assert (failed(kept), failed(results)) == (set(), {fault.check})


@pytest.mark.parametrize(("_name", "_words", "found", "check"), TLS, ids=[one[0] for one in TLS])
async def test_each_fault_of_tls_is_found(
    examined: Examined, _name: str, _words: str, found: dict[str, tuple[str, ...]], check: str
) -> None:
    findings = replace(examined.findings, **found)  # type: ignore[arg-type]
    kit = replace(examined, findings=findings).kit()
    assert failed(await examined.run(kit, [one for one in CHECKS.values() if one.name.startswith("tls-")])) == {check}


@pytest.mark.packaging
@pytest.mark.timeout(1800)
async def test_no_fault_is_found_by_what_is_about_something_else(
    examined: Examined, paired: Kit, seen_before: Earlier
) -> None:
    """Runs all checks of the fault's chapter; with DDR_FAULTS=thorough, all but those that log in or end a pairing."""
    wrong = {}
    for fault in FAULTS:
        found = failed(await judged(examined, paired, seen_before, fault, beside(fault)))
        if beyond := found - {fault.check, *fault.also}:
            wrong[fault.name] = sorted(beyond)
    assert not wrong, "\n".join(f"{name}: {beyond}" for name, beyond in wrong.items())


def beside(fault: Fault) -> list[Check]:
    """The checks that might find it."""
    others = [one for one in CHECKS.values() if not one.run.__module__.endswith(("pairing", "consents", "ending"))]
    if fault.pairs or not os.environ.get("DDR_FAULTS"):
        module = CHECKS[fault.check].run.__module__
        others = [one for one in others if one.run.__module__ == module]
    return named(fault.check, *fault.after, *(one.name for one in others))


def table() -> str:
    """The rows of docs/conformance-kit.md."""
    rows = [(words, check) for _, words, _, check in TLS]
    rows += [(fault.words, fault.check) for fault in (*FAULTS, *CHANGES)]
    lines = [f"| {words} | `{check}` | {', '.join(CHECKS[check].requirements)} |" for words, check in rows]
    return "\n".join((BEGIN, "| a recorder with this fault | is found by | for |", "|---|---|---|", *lines, END))


def page_with(text: str) -> str:
    """The page with its table up to date."""
    return re.sub(f"{BEGIN}.*{END}", lambda _: table(), text, flags=re.DOTALL)


def test_the_page_has_the_table() -> None:
    text = PAGE.read_text("utf-8")
    assert BEGIN in text and page_with(text) == text, "python -m tests.conform.test_bites"


def test_there_are_sixty_at_least_and_each_has_a_check() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 60
    assert {name for fault in FAULTS for name in (fault.check, *fault.also, *fault.after)} <= CHECKS.keys()


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text("utf-8")), "utf-8")
