"""Several worker processes and the real registry client, black box: what one worker learns applies to all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from ddr.cli.main import main
from ddr.conform.laws import bsi
from ddr.demo.accounts import Account
from ddr.demo.browser_user import Page
from ddr.demo.cast import ATEMDRUCK, GLUKOBUCH, CastDiga
from ddr.demo.diga_client import Tokens
from ddr.demo.stack import DemoStack
from ddr.http.clock import now_ms
from ddr.store.audit import journal
from ddr.store.gateways import tokens as gateway_tokens
from ddr.tls.scan import problems, scan
from tests.spec.world import BG, CGM

pytestmark = pytest.mark.slow

CONNECTIONS = 12  # with two workers, all of them reach one worker with a chance of 1 in 2,048
REGISTRY_SECONDS = 120


async def log_in(stack: DemoStack, browser: httpx.AsyncClient, patient: Account) -> None:
    """The patient logs in at this browser."""
    address = f"{stack.settings.public_base_url}/login"
    login = await browser.get(address)
    form = Page(str(login.url), login.text).form("username")
    assert form is not None
    fields = dict(form.hidden) | {"username": patient.username, "password": patient.password}
    await browser.post(address, data=fields)


async def statuses(stack: DemoStack, diga: CastDiga, tokens: Tokens) -> set[int]:
    """The responses to one search on many new connections, which the kernel spreads over the workers."""

    async def ask() -> int:
        async with stack.client(stack.certificate(diga)) as http:
            headers = {"authorization": f"Bearer {tokens.access_token}"}
            return (await http.get(f"{stack.settings.fhir_base}/Observation", headers=headers)).status_code

    return set(await asyncio.gather(*(ask() for _ in range(CONNECTIONS))))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for an effect of the registry's refresh."""
    async with asyncio.timeout(REGISTRY_SECONDS):
        while not await holds():  # noqa: ASYNC110 - another process ends it
            await asyncio.sleep(0.3)


async def test_connections_reach_both_workers(stack: DemoStack) -> None:
    """Otherwise the tests below would prove nothing."""
    url = f"http://127.0.0.1:{stack.settings.admin_port}/healthz"

    answered: set[int] = set()
    async with httpx.AsyncClient(trust_env=False, headers={"connection": "close"}) as http:  # all at once, not in turn

        async def ask() -> None:
            answered.add(int((await http.get(url)).json()["worker"]))

        async with asyncio.timeout(REGISTRY_SECONDS):
            while answered != {1, 2}:
                await asyncio.gather(*(ask() for _ in range(4 * CONNECTIONS)))


@pytest.mark.requirement("CON-005", "AS-030")
async def test_a_withdrawal_holds_with_the_next_request_on_every_worker(stack: DemoStack) -> None:
    """Every worker has verified and remembered these tokens before; the test does not wait after the withdrawal."""
    patient = stack.patients[0]
    tokens = await stack.pair(GLUKOBUCH, patient, [CGM, BG])
    assert await statuses(stack, GLUKOBUCH, tokens) == {200}
    async with stack.client() as browser:
        base = stack.settings.public_base_url
        await log_in(stack, browser, patient)
        page = await browser.get(f"{base}/me")
        withdrawal = Page(str(page.url), page.text).form("kind")
        assert withdrawal is not None
        hidden = dict(withdrawal.hidden) | {"kind": "all"}
        assert (await browser.post(f"{base}/me/withdraw", data=hidden)).status_code == 303
    assert await statuses(stack, GLUKOBUCH, tokens) == {401}


@pytest.mark.requirement("AS-030", "AS-037")
async def test_a_revocation_holds_with_the_next_request_on_every_worker(stack: DemoStack) -> None:
    client = await stack.diga(GLUKOBUCH)
    tokens = await stack.pair(GLUKOBUCH, stack.patients[0], [CGM])
    assert await statuses(stack, GLUKOBUCH, tokens) == {200}
    await client.revoke(tokens)
    assert await statuses(stack, GLUKOBUCH, tokens) == {401}


@pytest.mark.requirement("CON-014", "AS-028", "TLS-011")
async def test_a_retired_diga_is_unpaired(stack: DemoStack) -> None:
    """Its pairings end, and its patients read why; the other DiGA is not affected."""
    patient = stack.patients[1]
    tokens = await stack.pair(ATEMDRUCK, patient, ATEMDRUCK.mivs)
    others = await stack.pair(GLUKOBUCH, patient, [CGM])
    (listed,) = (diga for diga in stack.registry.digas if diga.number == ATEMDRUCK.number)
    listed.status = "retired"
    await stack.refresh_registry()

    async def ended() -> bool:
        reason = await stack.pool.fetchval("SELECT end_reason FROM pairing WHERE pairing_id = $1", tokens.pairing_id)
        return reason == "diga-unlisted" and await statuses(stack, ATEMDRUCK, tokens) == {401}

    await until(ended)
    assert await statuses(stack, GLUKOBUCH, others) == {200}
    open_consents = "SELECT count(*) FROM consent JOIN pairing USING (patient_id, pairing_no)"
    assert (
        await stack.pool.fetchval(f"{open_consents} WHERE pairing_id = $1 AND withdrawn_ms IS NULL", tokens.pairing_id)
        == 0
    )
    async with stack.client() as browser:
        await log_in(stack, browser, patient)
        page = await browser.get(f"{stack.settings.public_base_url}/me")
    assert "Die App ist nicht mehr im Verzeichnis der zugelassenen Gesundheitsanwendungen." in page.text
    listed.status = "active"
    await stack.refresh_registry()

    async def back() -> bool:
        async with stack.client(stack.certificate(ATEMDRUCK)) as http:
            form = {"client_id": ATEMDRUCK.client_id, "grant_type": "refresh_token", "refresh_token": "x"}
            answer = await http.post(f"{stack.settings.diga_base_url}/oauth/token", data=form)
        return bool(answer.json()["error"] == "invalid_grant")

    await until(back)
    assert await statuses(stack, ATEMDRUCK, tokens) == {401}  # listing it again does not pair it again


@pytest.mark.requirement("TLS-002")
async def test_the_listeners_keep_to_the_profile(stack: DemoStack) -> None:
    """The scanner is that of `ddr check tls`, which tests/tls compares with openssl and sslyze.

    It judges by the profile that the server uses, so the kit's own table of BSI's recommendations judges as well.
    """
    ports = (stack.settings.diga_port, stack.settings.public_port, stack.settings.gateway_port)
    for port in ports:
        findings = await asyncio.to_thread(scan, "localhost", port)
        assert findings.versions == ("TLS 1.2", "TLS 1.3")
        assert problems(findings) == []
        for beyond in (bsi.versions, bsi.suites, bsi.groups, bsi.signatures):
            assert beyond(findings, 2026) == []


async def test_the_tls_report(stack: DemoStack, capsys: pytest.CaptureFixture[str]) -> None:
    """A development certificate has no SCTs; nothing else is found. The report needs only the addresses and the CA."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", stack.settings.registry_ca)
        for name in ("diga_base_url", "public_base_url", "gateway_base_url"):
            patch.setenv(f"DDR_{name.upper()}", getattr(stack.settings, name))
        assert await asyncio.to_thread(main, ["check", "tls"]) == 1
    printed = capsys.readouterr()
    assert printed.out.count("PROBLEM") == 3
    assert printed.out.count("PROBLEM certificate: 0 signed certificate timestamps") == 3
    assert "3 problems found" in printed.err


async def test_a_disconnected_app_is_refused_by_every_worker(stack: DemoStack) -> None:
    """With the next request, although every worker has just accepted it; the workers' journal has it, too."""
    pool, patient = stack.pool, stack.patients[1]
    patient_id = await pool.fetchval("SELECT patient_id FROM account WHERE username = $1", patient.username)
    token = await gateway_tokens.create(pool, patient_id, now_ms(), name="lost phone")
    url = f"{stack.settings.gateway_base_url}/gateway/v1/devices"

    async def ask() -> int:
        async with stack.client() as http:
            return (await http.get(url, headers={"authorization": f"Bearer {token}"})).status_code

    assert {200} == set(await asyncio.gather(*(ask() for _ in range(CONNECTIONS))))
    async with stack.client() as browser:
        base = stack.settings.public_base_url
        await log_in(stack, browser, patient)
        page = await browser.get(f"{base}/me/devices")
        hidden = next(iter(Page(str(page.url), page.text).form("app").hidden))  # type: ignore[union-attr]
        (app,) = (
            row["app"] for row in await gateway_tokens.apps(pool, patient_id, now_ms()) if row["name"] == "lost phone"
        )
        disconnected = await browser.post(f"{base}/me/devices/disconnect", data=dict([hidden, ("app", app)]))
        assert disconnected.headers["location"] == "/me/devices?disconnected"
    assert {401} == set(await asyncio.gather(*(ask() for _ in range(CONNECTIONS))))
    written = [entry["event"] for entry in journal.entries(stack.settings.journal_folder)]
    assert "patient:gateway:disconnected" in written and token not in str(written)


async def test_the_end_of_a_right_to_act_holds_with_the_next_request_on_every_worker(
    stack: DemoStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mother acts for her child on both workers; the operator ends this at the command line."""
    monkeypatch.setenv("DDR_SETTINGS", str(Path(stack.options.state_dir) / "serve.toml"))
    mother, child = stack.patients[:2]
    names, base = (mother.username, child.username), stack.settings.public_base_url
    terms = ("--relation", "carer", "--name", "Mia")
    assert await asyncio.to_thread(main, ["patient", "proxy", "add", *names, *terms]) == 0
    async with stack.client() as browser:
        login = Page(f"{base}/login", (await browser.get(f"{base}/login")).text).form("username")
        assert login is not None
        fields = dict(login.hidden) | {"username": mother.username, "password": mother.password}
        landed = await browser.post(f"{base}/login", data=fields)
        assert landed.headers["location"] == "/me/person"
        choice = Page(f"{base}/me/person", (await browser.get(f"{base}/me/person")).text).form("person")
        assert choice is not None
        fields = dict(choice.hidden) | {"person": choice.buttons[-1][1]}
        await browser.post(f"{base}/me/person", data=fields)
        cookies = browser.cookies

    async def asked() -> int:
        async with stack.client() as http:
            http.cookies = cookies
            return (await http.get(f"{base}/me")).status_code

    assert set(await asyncio.gather(*(asked() for _ in range(CONNECTIONS)))) == {200}
    assert await asyncio.to_thread(main, ["patient", "proxy", "end", *names]) == 0
    assert set(await asyncio.gather(*(asked() for _ in range(CONNECTIONS)))) == {303}
