"""A Core with signing keys, and DiGA backends that no other test in the database uses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ddr.http.core import Core
from tests.oauth.backend import DigaBackend, new_diga
from tests.support.core import with_signer
from tests.support.trust import FakeTrust


@pytest.fixture
async def core(core: Core) -> Core:
    """The Core of this test, with a signer."""
    return await with_signer(core)


@pytest.fixture
def register(core: Core, trust: FakeTrust) -> Callable[..., DigaBackend]:
    """Registers a DiGA for the named MIV packages (all by default) and returns its backend."""

    def backend(*names: str) -> DigaBackend:
        mivs = [miv for miv in core.catalog.mivs if not names or miv.name in names]
        diga, certificate = new_diga(frozenset(miv.valueset for miv in mivs))
        return DigaBackend(core, trust.add(diga, certificate), certificate)

    return backend


@pytest.fixture
def diga(register: Callable[..., DigaBackend]) -> DigaBackend:
    """A DiGA with two MIVs."""
    return register("continuous-glucose-measurement", "blood-pressure-value")


@pytest.fixture
def other(register: Callable[..., DigaBackend]) -> DigaBackend:
    """Another DiGA with the same MIVs."""
    return register("continuous-glucose-measurement", "blood-pressure-value")
