"""Credentials from one recorder of an installation, tried at another in the same database: they are worthless there.

Both know the same DiGA by the same certificate, and a patient with the same name and password, so that only the
recorders' own secrets and tables keep them apart.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import httpx
import pytest

from ddr.miv.loader import load_catalog
from ddr.patient_pages.visitor import COOKIE
from ddr.settings import MivSettings, Settings
from ddr.store.database.migrate import migrate_database
from ddr.store.database.pool import open_pool
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.patients.accounts import create_patient
from tests.spec.backend import Backend, Json, granted, refused, unauthorized
from tests.spec.patient_pages import ENGLISH, pages_of
from tests.spec.world import BG, CGM, Home, entries, link
from tests.support.database import fresh_database
from tests.support.pooler import direct_only
from tests.support.received import received
from tests.support.recorder import PASSWORD, Patient, Recorder, TestDiga, recorder

# Behind a pooler each schema has a line of its own: tests/spec/test_pooler.py.
pytestmark = [pytest.mark.packaging, direct_only]


@dataclass
class Side:
    """One recorder, the DiGA as it talks to that one, and the patient that it knows."""

    backend: Backend
    patient: Patient

    @property
    def ddr(self) -> Recorder:
        return self.backend.ddr


@pytest.fixture(scope="module")
async def sides(
    database_url: str, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Side, Side]]:
    """Two recorders, `glucose` and `pressure`; both patients have data, and are not paired."""
    catalog = load_catalog(settings.miv_packages, {})
    terms = {miv.name: MivSettings(0, miv.min_historic_days, miv.vendor_holdup_seconds) for miv in catalog.mivs}
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(fresh_database(database_url))
        running = []
        for name in ("glucose", "pressure"):
            folder = tmp_path_factory.mktemp(name)
            own = replace(settings, database_url=url, database_schema=name, state_dir=folder)
            await asyncio.to_thread(migrate_database, own)
            pool = await stack.enter_async_context(await open_pool(own))
            running.append(await stack.enter_async_context(recorder(pool, own, folder / "certs", received, terms)))
        diga = await running[0].diga()
        running[1].trust.add(diga.entry, diga.certificate.der)
        username = f"patient-{running[0].number()}"
        yield (
            Side(Backend(running[0], diga), await patient(running[0], username)),
            Side(Backend(running[1], await known(running[1], diga)), await patient(running[1], username)),
        )


async def known(ddr: Recorder, diga: TestDiga) -> TestDiga:
    """The same DiGA as it talks to `ddr`, as soon as that one's listener lets its certificate in."""
    http = await ddr.client(diga.certificate, base_url=ddr.settings.fhir_base)
    client = replace(diga.client, http=http, issuer=ddr.settings.public_base_url, fhir_base=ddr.settings.fhir_base)
    until = time.monotonic() + 120
    while True:
        try:
            await http.get("metadata")
            return replace(diga, http=http, client=client)
        except (httpx.TransportError, ssl.SSLError):  # TLS 1.3 refuses after the handshake
            assert time.monotonic() < until
            await asyncio.sleep(0.1)


async def patient(ddr: Recorder, username: str) -> Patient:
    """An account of this name with the devices and data of every MIV."""
    patient_id = await create_patient(ddr.core.pool, username, PASSWORD, ddr.clock())
    token = await gateway_tokens.create(ddr.core.pool, patient_id, ddr.clock())
    base = f"{ddr.settings.gateway_base_url}/gateway/v1"
    gateway = await ddr.client(base_url=base, headers={"authorization": f"Bearer {token}"})
    found = Patient(patient_id, username, gateway)
    await Home(ddr, found).furnish()
    return found


async def paired(side: Side) -> Json:
    """The tokens of a new pairing."""
    return await side.backend.pair(side.patient, CGM, BG)


@pytest.fixture(params=[(0, 1), (1, 0)], ids=["glucose at pressure", "pressure at glucose"])
def ways(request: pytest.FixtureRequest, sides: tuple[Side, Side]) -> tuple[Side, Side]:
    """Where it is from, and where it is tried."""
    one, other = request.param
    return sides[one], sides[other]


async def test_access_tokens(ways: tuple[Side, Side]) -> None:
    own, other = ways
    mine, theirs = await paired(own), await paired(other)
    for path in ("Observation", "Device", "DeviceMetric", "Observation/$hddt-cgm-summary"):
        unauthorized(await other.backend.fhir(mine, path))
    assert (await own.backend.fhir(mine)).status_code == 200
    assert (await other.backend.fhir(theirs)).status_code == 200, "the same DiGA with a token of that recorder"


async def test_pairing_ids_are_others(sides: tuple[Side, Side]) -> None:
    one, other = [await paired(side) for side in sides]
    assert one["sub"] != other["sub"]


async def test_refresh_tokens_and_revocation(ways: tuple[Side, Side]) -> None:
    """They are refused, and trying does them no harm."""
    own, other = ways
    mine, theirs = await paired(own), await paired(other)
    refused(await other.backend.refresh(mine), 400, "invalid_grant")
    for kind in ("refresh_token", "access_token"):
        assert (await other.backend.revoke(mine[kind], token_type_hint=kind)).status_code == 200
    assert (await own.backend.fhir(mine)).status_code == 200
    granted(await own.backend.refresh(mine))
    granted(await other.backend.refresh(theirs))


async def test_requests_and_codes(ways: tuple[Side, Side]) -> None:
    own, other = ways
    request_uri = await own.backend.request_uri(CGM)
    strange = await other.ddr.public.get(other.backend.authorize_url(request_uri), headers=ENGLISH)
    assert strange.status_code == 400
    code = (await own.backend.decide(own.patient, request_uri, [CGM]))["code"]
    refused(await other.backend.exchange(code), 400, "invalid_grant")
    granted(await own.backend.exchange(code))


async def test_the_answer_names_its_issuer(ways: tuple[Side, Side]) -> None:
    """RFC 9207: so that a DiGA that talks to both never redeems at one what the other gave."""
    own, other = ways
    request_uri = await own.backend.request_uri(CGM)
    answer = await own.backend.decide(own.patient, request_uri, [CGM])
    assert answer["iss"] == own.ddr.settings.public_base_url != other.ddr.settings.public_base_url


async def test_ids_and_links(ways: tuple[Side, Side]) -> None:
    own, other = ways
    mine, theirs = await paired(own), await paired(other)
    for kind in ("Observation", "Device", "DeviceMetric"):
        found = entries((await own.backend.fhir(mine, kind)).json())
        assert found, kind
        for resource in found:
            assert (await own.backend.fhir(mine, f"{kind}/{resource['id']}")).status_code == 200
            assert (await other.backend.fhir(theirs, f"{kind}/{resource['id']}")).status_code == 404
    following = link((await own.backend.fhir(mine, "Observation?_count=1")).json(), "next")
    assert following is not None
    query = httpx.URL(following).query.decode()
    assert (await own.backend.fhir(mine, f"Observation?{query}")).status_code == 200
    assert (await other.backend.fhir(theirs, f"Observation?{query}")).status_code == 400


async def test_the_same_data_has_other_ids(sides: tuple[Side, Side]) -> None:
    """Ids are numbers under a key of the recorder: of equal rows they differ."""
    found = []
    for side in sides:
        bundle = (await side.backend.fhir(await paired(side))).json()
        found.append({resource["id"] for resource in entries(bundle)})
    assert len(found[0]) == len(found[1]) > 1
    assert not found[0] & found[1]


async def test_sessions_of_browsers(ways: tuple[Side, Side]) -> None:
    """A browser keeps them apart by the host; whoever carries one over by hand is a stranger there."""
    own, other = ways
    pages = await pages_of(own.ddr, own.patient)
    cookie = next(each for each in pages.http.cookies.jar if each.name == COOKIE)
    assert COOKIE.startswith("__Host-") and cookie.secure and cookie.path == "/" and not cookie.domain_specified
    headers = {**ENGLISH, "cookie": f"{COOKIE}={cookie.value}"}
    for path in ("/me", "/me/data", "/me/access", "/me/devices"):
        strange = await other.ddr.public.get(path, headers=headers)
        assert strange.status_code == 303 and "/login" in strange.headers["location"], path
    assert (await pages.get("/me")).url.path == "/me"


async def test_tokens_and_codes_of_gateways(ways: tuple[Side, Side]) -> None:
    own, other = ways
    authorization = own.patient.gateway.headers["authorization"]
    strange = await other.patient.gateway.get("devices", headers={"authorization": authorization})
    assert strange.status_code == 401
    assert (await own.patient.gateway.get("devices")).status_code == 200


async def test_certificates_of_diga(ways: tuple[Side, Side]) -> None:
    """A DiGA that is listed for one product only does not get through the handshake of the other."""
    own, other = ways
    diga = await own.ddr.diga()
    assert (await diga.http.get("metadata")).status_code == 200
    stranger = await other.ddr.client(diga.certificate, base_url=other.ddr.settings.fhir_base)
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        await stranger.get("metadata")


async def test_the_trail_knows_its_own_only(ways: tuple[Side, Side]) -> None:
    own, other = ways
    mine = await paired(own)
    assert (await own.backend.fhir(mine)).status_code == 200
    count = "SELECT count(*) FROM audit WHERE pairing_id = $1"
    assert await own.ddr.core.pool.fetchval(count, mine["sub"]) > 0
    assert await other.ddr.core.pool.fetchval(count, mine["sub"]) == 0
