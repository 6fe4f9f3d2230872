"""The kit against the running recorder of the black-box tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ddr.conform.kit import Kit
from ddr.conform.pacing import Pace, Patience
from ddr.conform.run import Result
from ddr.conform.verdict import Verdict
from ddr.conform.view import View
from tests.spec.conftest import ddr, examined
from tests.spec.examined import Examined

__all__ = ["ddr", "examined"]


@pytest.fixture(scope="module")
async def paired(examined: Examined) -> Kit:
    """A kit that has paired: its tokens serve for all faults except those on the way to tokens."""
    kit = examined.kit()
    await asyncio.to_thread(lambda: kit.views)
    return kit


def with_pairings(kit: Kit, paired: Kit) -> None:
    """Give the kit the views of another one, with nothing read yet."""
    views = []
    for one in paired.views:
        view = View(kit, one.name, one.patient, one.pairing, Pace(Patience(5), 0))
        view.access_token, view.refresh_token = one.access_token, one.refresh_token
        views.append(view)
    kit.__dict__["_paired"] = views


def failed(results: Sequence[Result]) -> set[str]:
    return {one.check.name for one in results if one.verdict is Verdict.FAILED}
