"""The client library against the running recorder of the black-box tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ddr.client import Diga, FileTokens, Pairing
from ddr.demo.browser_user import BrowserUser
from tests.spec.conftest import ddr
from tests.spec.world import Home
from tests.support.recorder import PASSWORD, Patient, Recorder, TestDiga

__all__ = ["ddr"]


@dataclass
class Backend:
    """A DiGA's backend that uses the library, and what a test needs to play the patient."""

    ddr: Recorder
    listed: TestDiga
    diga: Diga
    http: httpx.AsyncClient
    tokens: FileTokens
    pairing: Pairing

    async def browse(self, url: str, patient: Patient, approve: tuple[str, ...]) -> str:
        """Where the patient's browser lands after the decision."""
        user = BrowserUser(await self.ddr.client(), patient.username, PASSWORD)
        return await user.decide(url, self.diga.redirect_uri, self.ddr.scopes(*approve))

    async def pair(self, patient: Patient, *mivs: str) -> str:
        """Pair for these MIV packages; the pairing id."""
        started = await self.pairing.start(self.valuesets(*mivs))
        grant = await self.pairing.finish(started, await self.browse(started.url, patient, mivs))
        return grant.pairing_id

    def valuesets(self, *mivs: str) -> list[str]:
        """Canonicals of MIV packages."""
        return [miv.valueset for name in mivs if (miv := self.ddr.core.catalog.by_name(name))]


@pytest.fixture
async def backend(ddr: Recorder, tmp_path: Path) -> AsyncIterator[Backend]:
    """A new DiGA that may read everything."""
    listed = await ddr.diga()
    diga = Diga(
        client_id=listed.entry.client_id,
        redirect_uri=listed.entry.redirect_uri,
        issuer=ddr.settings.public_base_url,
        fhir_base=ddr.settings.fhir_base,
        certificate=listed.certificate.cert,
        key=listed.certificate.key,
        ca=str(ddr.authority.cert),
    )
    tokens = FileTokens(tmp_path / "tokens")
    async with diga.http() as http:
        yield Backend(ddr, listed, diga, http, tokens, Pairing(diga, http, tokens))


@pytest.fixture
async def home(ddr: Recorder) -> Home:
    """A new patient."""
    return Home(ddr, await ddr.patient())
