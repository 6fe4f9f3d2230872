"""What the conformance kit examines: two patients with data, two DiGA, a login by recipe, and made-up TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ddr.conform.check import Check, all_checks
from ddr.conform.earlier import Earlier
from ddr.conform.gateway import Gateway
from ddr.conform.kit import Kit
from ddr.conform.pacing import Patience
from ddr.conform.recipe import OURS, RecipeBrowser, read_recipe
from ddr.conform.run import Result, run
from ddr.conform.target import Account, Identity, Target, Terms
from ddr.conform.wire import Wire, Wrap
from ddr.tls import bsi
from ddr.tls.scan import Findings
from tests.spec.world import BG, BP, CGM, HOUR, LF, Home
from tests.support.recorder import PASSWORD, Patient, Recorder, TestDiga


@dataclass
class Examined:
    """A recorder that the kit examines, with everything that the kit needs."""

    ddr: Recorder
    target: Target
    findings: Findings  # of TLS: a recorder in a test's process does not have the profile of `ddr serve`

    def kit(self, wrap: Wrap | None = None, earlier: Earlier | None = None, data: bool = False) -> Kit:
        """A kit with the recorder's clock; `wrap` can change its HTTP (ddr.conform.wire); a plug-in brings `data`."""
        wire = Wire(self.target, wrap)
        browser = RecipeBrowser(read_recipe(OURS), wire)
        return Kit(
            self.target,
            wire,
            browser,
            Patience(60),
            earlier=earlier,
            now_ms=self.ddr.clock,
            scanner=lambda _host, _port: self.findings,
            source=Gateway(self.ddr.settings.gateway_base_url, wire.browser, self.ddr.clock) if data else None,
        )

    async def run(self, kit: Kit, checks: Sequence[Check] | None = None) -> list[Result]:
        """Run in another thread, because the recorder answers in this one."""
        results = await asyncio.to_thread(run, kit, all_checks() if checks is None else checks)
        await asyncio.to_thread(kit.wire.close)
        return results


def identity(ddr: Recorder, diga: TestDiga) -> Identity:
    """A DiGA of the allow list as the kit knows it."""
    own = diga.entry
    pair = diga.certificate
    return Identity(own.client_id, own.redirect_uri, pair.cert, pair.key, tuple(sorted(own.valuesets)))


def account(patient: Patient) -> Account:
    """A patient as the kit knows it."""
    token = patient.gateway.headers["authorization"].removeprefix("Bearer ")
    return Account(patient.username, PASSWORD, {"gateway_token": token})


@pytest.fixture(scope="module")
async def examined(ddr: Recorder) -> Examined:
    """Two patients with data of all kinds, one DiGA for glucose and one for the rest: three pairings."""
    first, second = await ddr.patient(), await ddr.patient()
    home = await Home(ddr, first).furnish()
    await home.glucose("lo", ddr.clock() - 6 * HOUR, 20, comparator="<")
    await Home(ddr, second).furnish()
    digas = [await ddr.diga(CGM, BG), await ddr.diga(BP, LF)]
    terms = {
        miv.valueset: Terms(own.historic_days, own.grace_seconds, own.delay_seconds)
        for miv in ddr.core.catalog.mivs
        if (own := ddr.core.catalog.terms[miv.valueset])
    }
    target = Target(
        fhir_base=ddr.settings.fhir_base,
        issuer=ddr.settings.public_base_url,
        digas=tuple(identity(ddr, one) for one in digas),
        patients=(account(first), account(second)),
        pairings=((0, 0), (1, 0), (0, 1)),
        terms=terms,
        ca=str(ddr.authority.cert),
        status_url=f"{ddr.settings.public_base_url}/status",
    )
    server = x509.load_pem_x509_certificate(ddr.settings.server_cert.read_bytes())
    der = server.public_bytes(serialization.Encoding.DER)
    suites = (*bsi.TLS12_SUITES, *bsi.TLS13_SUITES)
    findings = Findings(("TLS 1.2", "TLS 1.3"), suites, bsi.GROUPS, bsi.SIGNATURES, der)
    return Examined(ddr, target, findings)
