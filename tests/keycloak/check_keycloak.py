"""The recorder against a real Keycloak: `make keycloak-test`. Not part of the tests that run always.

The name keeps pytest from collecting it; the Makefile names it.
"""

from __future__ import annotations

import asyncio
import html
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from ddr.demo.certs import Pair, authority, server_certificate
from ddr.http.clock import now_ms
from ddr.http.core import Core
from ddr.identity.provider import Provider
from ddr.store.patients import identities
from tests.gateway.conftest import make_client, put_device
from tests.patient_pages.browser import Browser
from tests.support.openid import AUDIENCE, CLIENT_ID, CLIENT_SECRET, PASSWORD

HERE = Path(__file__).parent
KEYCLOAK = next((HERE / "target").glob("keycloak-*/"))
STARTS_WITHIN = 180  # seconds


@dataclass(frozen=True)
class Keycloak:
    """A running Keycloak with the realm of realm.json."""

    issuer: str
    ca: Path


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """Keycloak in development mode, over TLS, with its database in a temporary directory."""
    folder = tmp_path_factory.mktemp("keycloak")
    ca = authority(folder)
    home = folder / "home"
    shutil.copytree(KEYCLOAK, home)
    (home / "data" / "import").mkdir(parents=True)
    shutil.copy(HERE / "realm.json", home / "data" / "import")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(_command(home, port, server_certificate(folder, ca)), stdout=log, stderr=log)
        try:
            yield Keycloak(f"https://localhost:{port}/realms/ddr", ca.cert)
        finally:
            process.terminate()
            process.wait()


def _command(home: Path, port: int, pair: Pair) -> list[str]:
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
