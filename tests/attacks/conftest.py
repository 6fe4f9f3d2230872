"""The participants of the attacks: a running recorder, an honest DiGA, a hostile one, and a patient."""

from __future__ import annotations

import pytest

from tests.spec.backend import Backend
from tests.spec.conftest import ddr, patient
from tests.spec.world import BG, BP, CGM
from tests.support.recorder import Recorder

__all__ = ["ddr", "patient"]


@pytest.fixture(scope="module")
async def honest(ddr: Recorder) -> Backend:
    """A DiGA that is attacked."""
    return Backend(ddr, await ddr.diga(CGM, BP))


@pytest.fixture(scope="module")
async def hostile(ddr: Recorder) -> Backend:
    """A listed DiGA that attacks, with more rights than the honest one."""
    return Backend(ddr, await ddr.diga(CGM, BP, BG))
