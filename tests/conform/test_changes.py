"""Checks that need somebody to change data, with the plug-in for our gateway API, and the faults that they find."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from ddr.conform.check import all_checks
from ddr.conform.data import WORDS, Data, read_source
from ddr.conform.gateway import Gateway
from ddr.conform.kit import Kit
from ddr.conform.target import Account, TargetError
from ddr.conform.verdict import Verdict
from ddr.conform.wire import Wrap
from tests.conform.conftest import Examined, failed, with_pairings
from tests.conform.faults.changes import CHANGES
from tests.conform.faults.fault import Fault
from tests.conform.faults.tamper import wrapping
from tests.support.recorder import PASSWORD

CHECKS = [one for one in all_checks() if one.run.__module__.endswith("changes")]


@pytest.fixture(scope="module")
async def fresh(examined: Examined) -> Examined:
    """The recorder with a patient who has nothing yet."""
    patient = await examined.ddr.patient()
    token = patient.gateway.headers["authorization"].removeprefix("Bearer ")
    account = Account(patient.username, PASSWORD, {"gateway_token": token})
    return replace(examined, target=replace(examined.target, patients=(account,), pairings=((0, 0),)))


def kit(fresh: Examined, wrap: Wrap | None = None) -> Kit:
    found = fresh.kit(wrap)
    found.source = Gateway(fresh.ddr.settings.gateway_base_url, found.wire.browser, fresh.ddr.clock)
    return found


@pytest.fixture(scope="module")
async def furnished(fresh: Examined) -> Kit:
    """A kit that has paired and furnished the patient."""
    found = kit(fresh)
    await asyncio.to_thread(lambda: found.views)
    return found


async def test_the_plug_in_brings_what_checks_want(fresh: Examined, furnished: Kit) -> None:
    matches = await asyncio.to_thread(lambda: furnished.views[0].everything.matches)
    assert {"99504-3", "2339-0", "15074-8"} <= {one["code"]["coding"][0]["code"] for one in matches}
    results = await fresh.run(furnished, CHECKS)
    assert {one.check.name: (one.verdict, one.text) for one in results} == {
        one.name: (Verdict.PASSED, "") for one in CHECKS
    }


@pytest.mark.parametrize("fault", CHANGES, ids=lambda fault: fault.name)
async def test_each_fault_is_found_by_its_check(fresh: Examined, furnished: Kit, fault: Fault) -> None:
    found = kit(fresh, wrapping(fault.harm))
    found.source = furnished.source
    with_pairings(found, furnished)
    results = await fresh.run(found, [one for one in CHECKS if one.name == fault.check])
    assert failed(results) == {fault.check}, results


def test_plug_ins_are_files_with_a_function(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    with pytest.raises(TargetError, match="no Python file"):
        read_source(file)
    file.write_text("provide = 1")
    with pytest.raises(TargetError, match="no function"):
        read_source(file)
    file.write_text("def provide(data, patient):\n    return (data, patient['username']) == ('new', 'anna')")
    assert read_source(file).provide(str(Data.NEW), {"username": "anna"})


def test_the_guide_names_what_can_be_asked_for() -> None:
    guide = (Path(__file__).parents[2] / "docs/conformance-kit.md").read_text("utf-8")
    assert [f"| `{data}` | {words} |" in guide for data, words in WORDS.items()] == [True] * len(Data)
