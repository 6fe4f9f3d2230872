"""Checks that need somebody to change data, with the plug-in for our gateway API, and the faults that they find."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from ddr.conform.check import all_checks
from ddr.conform.data import WORDS, Data, read_source
from ddr.conform.kit import Kit
from ddr.conform.target import TargetError
from tests.conform.conftest import failed, with_pairings
from tests.conform.faults.changes import CHANGES
from tests.conform.faults.fault import Fault
from tests.conform.faults.tamper import wrapping
from tests.spec.examined import Examined, account

CHECKS = [one for one in all_checks() if one.run.__module__.endswith("changes")]


@pytest.fixture(scope="module")
async def fresh(examined: Examined) -> Examined:
    """The recorder with a patient who has nothing yet."""
    patients = (account(await examined.ddr.patient()),)
    return replace(examined, target=replace(examined.target, patients=patients, pairings=((0, 0),)))


@pytest.fixture(scope="module")
async def furnished(fresh: Examined) -> Kit:
    """A kit that has paired and furnished the patient."""
    found = fresh.kit(data=True)
    await asyncio.to_thread(lambda: found.views)
    return found


async def test_the_plug_in_brings_what_checks_want(furnished: Kit) -> None:
    matches = await asyncio.to_thread(lambda: furnished.views[0].everything.matches)
    assert {"99504-3", "2339-0", "15074-8"} <= {one["code"]["coding"][0]["code"] for one in matches}


@pytest.mark.parametrize("fault", CHANGES, ids=lambda fault: fault.name)
async def test_each_fault_is_found_by_its_check(fresh: Examined, furnished: Kit, fault: Fault) -> None:
    found = fresh.kit(wrapping(fault.harm))
    found.source = furnished.source
    with_pairings(found, furnished)
    results = await fresh.run(found, [one for one in CHECKS if one.name == fault.check])
    assert failed(results) == {fault.check}, results


def test_plug_ins_are_files_with_a_function(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    with pytest.raises(TargetError, match="not a Python file"):
        read_source(file)
    file.write_text("provide = 1")
    with pytest.raises(TargetError, match="no function"):
        read_source(file)
    file.write_text("def provide(data, patient):\n    return (data, patient['username']) == ('new', 'anna')")
    assert read_source(file).provide(str(Data.NEW), {"username": "anna"})


def test_the_guide_names_what_can_be_asked_for() -> None:
    guide = (Path(__file__).parents[2] / "docs/conformance-kit.md").read_text("utf-8")
    assert [f"| `{data}` | {words} |" in guide for data, words in WORDS.items()] == [True] * len(Data)
