"""A Core that signs tokens, a patient with data, and DiGA that are paired with the patient."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

import pytest

from ddr.http.core import Core
from ddr.scopes.diga import Diga
from tests.diga_api.world import Backend, Body
from tests.support.core import with_signer
from tests.support.trust import FakeTrust

Pair = Callable[..., Awaitable[Backend]]


@pytest.fixture
async def core(core: Core) -> Core:
    """The Core of this test, with a signer."""
    return await with_signer(core)


@pytest.fixture
def body(core: Core) -> Body:
    """A patient without data."""
    return Body(core)


@pytest.fixture
def pair(core: Core, trust: FakeTrust, body: Body) -> Pair:
    """Registers a new DiGA for MIV packages (all by default) and pairs it with the patient, or with another one."""

    async def pair(*names: str, of: Body = body, device: bool = True, device_metric: bool = True) -> Backend:
        valuesets = [miv.valueset for miv in core.catalog.mivs if not names or miv.name in names]
        name = secrets.token_hex(6)
        certificate = secrets.token_bytes(40)
        diga = Diga(
            f"urn:diga:bfarm:{name}", name, "M", True, "https://d.example/cb", frozenset(), frozenset(valuesets)
        )
        backend = Backend(core, trust.add(diga, certificate), certificate, of.patient_id)
        return await backend.pair(valuesets, device=device, device_metric=device_metric)

    return pair
