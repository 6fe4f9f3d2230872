"""The recorder against a real Keycloak: `make keycloak-test`. Not part of the regular tests.

The name keeps pytest from collecting it; the Makefile names it.
"""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from ddr.demo.certs import Pair, authority, server_certificate
from ddr.demo.recorder import free_ports
from ddr.demo.server import serving
from ddr.http.clock import now_ms
from ddr.http.core import Core
from ddr.identity.provider import Provider
from ddr.patient_pages.app import create_consent
from ddr.store.authorization.representations import open_of
from ddr.store.patients import identities
from tests.gateway.conftest import make_client, put_device
from tests.patient_pages.browser import Browser
from tests.support.openid import AUDIENCE, CLIENT_ID, CLIENT_SECRET, PASSWORD

HERE = Path(__file__).parent
KEYCLOAK = next((HERE / "target").glob("keycloak-*/"))
STARTS_WITHIN = 600  # seconds, on a busy machine
pytestmark = pytest.mark.timeout(STARTS_WITHIN + 300)
ADMIN = "admin"
ANNA, MIA = (f"6f0f6c1e-6f0e-4c1b-9d0a-0d2a5c0a000{number}" for number in (1, 2))  # users in realm.json
CHILD = {"sub": MIA, "relation": "parent", "name": "Mia", "birthdate": "2018-05-01"}


@dataclass(frozen=True)
class Keycloak:
    """A running Keycloak with the realm of realm.json; it expects the recorder's public listener at `recorder_port`."""

    issuer: str
    ca: Path
    pair: Pair
    recorder_port: int

    @property
    def admin(self) -> str:
        """The address of the realm for administrators."""
        return self.issuer.replace("/realms/", "/admin/realms/")


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """Keycloak in development mode, over TLS, with its database in a temporary directory."""
    folder = tmp_path_factory.mktemp("keycloak")
    ca = authority(folder)
    home = folder / "home"
    shutil.copytree(KEYCLOAK, home)
    (home / "data" / "import").mkdir(parents=True)
    port, recorder_port = free_ports(2)
    realm = (
        (HERE / "realm.json")
        .read_text()
        .replace("localhost:8444/login/ended", f"localhost:{recorder_port}/login/ended")
    )
    (home / "data" / "import" / "realm.json").write_text(realm)
    pair = server_certificate(folder, ca)
    account = {"KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN, "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            _command(home, port, pair, ca.cert), stdout=log, stderr=log, env={**os.environ, **account}
        )
        try:
            yield Keycloak(f"https://localhost:{port}/realms/ddr", ca.cert, pair, recorder_port)
        finally:
            process.terminate()
            process.wait()


def _command(home: Path, port: int, pair: Pair, ca: Path) -> list[str]:
    return [
        "bash",
        str(home / "bin" / "kc.sh"),
        "start-dev",
        "--import-realm",
        "--http-enabled=false",
        "--http-host=127.0.0.1",
        f"--https-port={port}",
        f"--https-certificate-file={pair.cert}",
        f"--https-certificate-key-file={pair.key}",
        f"--truststore-paths={ca}",
    ]


@pytest.fixture
async def there(keycloak: Keycloak) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at Keycloak, as soon as it answers."""
    async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=keycloak.ca), timeout=60) as client:
        for _ in range(STARTS_WITHIN):
            try:
                if (await client.get(f"{keycloak.issuer}/.well-known/openid-configuration")).is_success:
                    break
            except httpx.TransportError:
                await asyncio.sleep(1)
        yield client


@pytest.fixture
def real_core(core: Core, keycloak: Keycloak) -> Core:
    """A recorder whose patients log in at Keycloak."""
    settings = replace(
        core.settings,
        patient_login="oidc",
        public_base_url="https://recorder.example",
        oidc_issuer=keycloak.issuer,
        oidc_client_id=CLIENT_ID,
        oidc_client_secret=CLIENT_SECRET,
        oidc_audience=AUDIENCE,
        oidc_access_token_type="JWT",  # unless the client's "at+jwt" is switched on
        oidc_ca=str(keycloak.ca),
    )
    return replace(core, settings=settings, clock=now_ms, steer=None, identity=Provider(settings, now_ms))


async def prove(there: httpx.AsyncClient, address: str) -> str:
    """Fill in Keycloak's login form; the address of the callback."""
    page = await there.get(address)
    assert page.status_code == 200, page.headers.get("location")
    return await submit(there, page, username="anna", password=PASSWORD)


async def submit(there: httpx.AsyncClient, page: httpx.Response, **fields: str) -> str:
    """Send the first form of a page; where it leads."""
    action = re.search(r'<form[^>]+action="([^"]+)"', page.text)
    assert action
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    answer = await there.post(urljoin(str(page.url), html.unescape(action[1])), data={**hidden, **fields})
    assert answer.is_redirect, answer.text
    return answer.headers["location"]


async def test_login_confirmation_and_logout(there: httpx.AsyncClient, real_core: Core) -> None:
    here = Browser(real_core)
    entered = await here.get(await prove(there, (await here.get("/login")).headers["location"]))
    assert (entered.status_code, entered.headers["location"]) == (303, "/me")
    assert "Angemeldet als anna" in (await here.get("/me")).text
    remembered = await there.get((await Browser(real_core).get("/login")).headers["location"])
    assert remembered.is_redirect
    confirmed = await here.get(await prove(there, (await here.get("/login/confirm")).headers["location"]))
    assert (confirmed.status_code, confirmed.headers["location"]) == (303, "/me/delete")
    bye = await here.post("/logout", await here.get("/me"))
    question = await there.get(bye.headers["location"])
    back = await submit(there, question) if question.status_code == 200 else question.headers["location"]
    assert back == "https://recorder.example/login?bye=1"
    assert (await there.get((await here.get("/login")).headers["location"])).status_code == 200


async def test_a_remembered_login_does_not_confirm(there: httpx.AsyncClient, real_core: Core) -> None:
    here = Browser(real_core)
    await here.get(await prove(there, (await here.get("/login")).headers["location"]))
    await asyncio.sleep(11)
    address = (await here.get("/login/confirm")).headers["location"]
    silent = await there.get(address.replace("prompt=login", "").replace("max_age=0", ""))
    assert (await here.get(silent.headers["location"])).status_code == 400


async def test_access_tokens_of_gateways(there: httpx.AsyncClient, real_core: Core, keycloak: Keycloak) -> None:
    form = {"grant_type": "password", "client_id": "gateway-app", "username": "anna", "password": PASSWORD}
    answer = await there.post(f"{keycloak.issuer}/protocol/openid-connect/token", data=form)
    async with make_client(real_core, answer.json()["access_token"]) as client:
        assert (await put_device(client, f"meter-{os.getpid()}")).status_code == 201
    here = Browser(real_core)
    await here.get(await prove(there, (await here.get("/login")).headers["location"]))
    assert "GlukkoCheck" in (await here.get("/me/devices")).text
    assert await identities.find(real_core.pool, keycloak.issuer, "anna") is None  # the subject is not the name


@pytest.fixture
async def administrator(there: httpx.AsyncClient, keycloak: Keycloak) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who may change users in the realm."""
    form = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN, "password": PASSWORD}
    master = keycloak.issuer.replace("/realms/ddr", "/realms/master")
    token = (await there.post(f"{master}/protocol/openid-connect/token", data=form)).json()["access_token"]
    context = ssl.create_default_context(cafile=keycloak.ca)
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(verify=context, base_url=f"{keycloak.admin}/", headers=headers, timeout=60) as client:
        yield client


async def change(administrator: httpx.AsyncClient, user: str, **changes: object) -> None:
    """Change a user."""
    found = (await administrator.get(f"users/{user}")).json()
    (await administrator.put(f"users/{user}", json={**found, **changes})).raise_for_status()


async def says(administrator: httpx.AsyncClient, *entries: object) -> None:
    """For whom Anna acts, as an administrator enters it: an attribute of the user, which is a text."""
    profile = (await administrator.get("users/profile")).json()
    profile["unmanagedAttributePolicy"] = "ADMIN_EDIT"
    (await administrator.put("users/profile", json=profile)).raise_for_status()
    await change(administrator, ANNA, attributes={"represents": [json.dumps(entries)]} if entries else {})


async def out(here: Browser) -> bool:
    """The session has ended; Keycloak tells the recorder soon after it was told itself."""
    for _ in range(100):
        if (await here.get("/me/access")).status_code == 303:
            return True
        await asyncio.sleep(0.1)
    return False


@pytest.mark.parametrize("claim", ["represents", "represents_text"])
async def test_a_claim_says_for_whom_one_acts_and_a_sign_out_ends_it_at_once(
    there: httpx.AsyncClient, administrator: httpx.AsyncClient, real_core: Core, keycloak: Keycloak, claim: str
) -> None:
    assert isinstance(real_core.identity, Provider)
    real_core.identity.represents_claim = claim
    here = Browser(real_core)
    async with serving(create_consent(real_core), keycloak.pair, keycloak.recorder_port):
        await says(administrator, CHILD)
        entered = await here.get(await prove(there, (await here.get("/login")).headers["location"]))
        assert entered.headers["location"] == "/me/person"
        await here.act_for("Mia")
        assert "<bdi>Mia</bdi>" in (await here.get("/me")).text
        await says(administrator)
        assert "<bdi>Mia</bdi>" in (await here.get("/me")).text, "Keycloak tells nobody of a changed attribute"
        (await administrator.post(f"users/{ANNA}/logout")).raise_for_status()
        assert await out(here)
        await asyncio.sleep(2)  # a login of the second of the sign-out may be of before it
        entered = await here.get(await prove(there, (await here.get("/login")).headers["location"]))
        assert entered.headers["location"] == "/me"
    anna = await identities.find(real_core.pool, keycloak.issuer, ANNA)
    assert anna is not None
    assert await open_of(real_core.pool, anna) == []


async def test_all_sessions_of_a_user_end(
    there: httpx.AsyncClient, administrator: httpx.AsyncClient, real_core: Core, keycloak: Keycloak
) -> None:
    """In two browsers, so that there are two sessions at Keycloak; and the user logs out in one of them."""
    one, two = Browser(real_core), Browser(real_core)
    context = ssl.create_default_context(cafile=keycloak.ca)
    async with (
        serving(create_consent(real_core), keycloak.pair, keycloak.recorder_port),
        httpx.AsyncClient(verify=context, timeout=60) as elsewhere,
    ):
        for here, browser in ((one, there), (two, elsewhere)):
            await here.get(await prove(browser, (await here.get("/login")).headers["location"]))
            assert (await here.get("/me/access")).status_code == 200
        (await administrator.post(f"users/{ANNA}/logout")).raise_for_status()
        assert await out(one) and await out(two)
        await asyncio.sleep(2)
        await one.get(await prove(there, (await one.get("/login")).headers["location"]))
        bye = await one.post("/logout", await one.get("/me"))  # tells Keycloak, which tells us: there is nothing left
        question = await there.get(bye.headers["location"])
        if question.status_code == 200:
            await submit(there, question)
        assert await out(one)


async def test_a_user_who_is_disabled_is_out_with_a_sign_out(
    there: httpx.AsyncClient, administrator: httpx.AsyncClient, real_core: Core, keycloak: Keycloak
) -> None:
    here = Browser(real_core)
    async with serving(create_consent(real_core), keycloak.pair, keycloak.recorder_port):
        await here.get(await prove(there, (await here.get("/login")).headers["location"]))
        await change(administrator, ANNA, enabled=False)
        try:
            assert (await here.get("/me/access")).status_code == 200, "Keycloak tells nobody"
            (await administrator.post(f"users/{ANNA}/logout")).raise_for_status()
            assert await out(here)
        finally:
            await change(administrator, ANNA, enabled=True)
