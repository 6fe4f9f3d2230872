"""The kit against the running recorder of the black-box tests."""

from __future__ import annotations

from collections.abc import Sequence

from ddr.conform.kit import Kit
from ddr.conform.pacing import Pace, Patience
from ddr.conform.run import Result
from ddr.conform.verdict import Verdict
from ddr.conform.view import View
from tests.spec.conftest import ddr, examined

__all__ = ["ddr", "examined"]


def with_pairings(kit: Kit, paired: Kit) -> None:
    """The views of another kit, with nothing read yet."""
    views = []
    for one in paired.views:
        view = View(kit, one.name, one.patient, one.pairing, Pace(Patience(5), 0))
        view.access_token, view.refresh_token = one.access_token, one.refresh_token
        views.append(view)
    kit.__dict__["_paired"] = views


def failed(results: Sequence[Result]) -> set[str]:
    return {one.check.name for one in results if one.verdict is Verdict.FAILED}
