"""The listeners of one worker: requests in progress are finished, TLS can end at a proxy."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from ddr.cli.serving.listeners import Listeners
from ddr.demo.certs import authority, client_certificate, server_certificate
from ddr.gateway.app import create_gateway
from ddr.http.asgi import ASGIApp, Receive, Reply, Scope, Send, send_reply
from ddr.http.core import Core
from ddr.http.fleet import Fleet
from ddr.http.jobs import Jobs
from ddr.operations.status.checks import days_left
from ddr.registries.certificates import expires_ms
from ddr.store.gateways import certificates as gateway_certificates
from ddr.store.gateways.certificates import Anchors, Facts
from ddr.tls.context import TlsError
from ddr.tls.peer import from_proxy
from tests.support.trust import FakeTrust
from tests.tls.support import Connection, ask, client_context, echo_certificate


@pytest.fixture
def secured(core: Core, tmp_path: Path) -> Core:
    """A Core with a server certificate in `tmp_path`."""
    identity = server_certificate(tmp_path, authority(tmp_path))
    return replace(core, settings=replace(core.settings, server_cert=identity.cert, server_key=identity.key))


async def started(core: Core, apps: Mapping[str, ASGIApp]) -> tuple[Listeners, dict[str, int]]:
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in apps}
    listeners = Listeners(core, apps)
    await listeners.start(sockets)
    return listeners, {name: one.getsockname()[1] for name, one in sockets.items()}


def reached(port: int) -> bool:
    """Somebody takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


async def test_a_request_in_hand_is_finished_before_the_end(secured: Core, tmp_path: Path) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        arrived.set()
        await go_on.wait()
        await send_reply(scope, send, Reply(200, b"finished"))

    listeners, ports = await started(secured, {"public": slow})
    asking = asyncio.create_task(ask(ports["public"], client_context(tmp_path / "authority.pem")))
    await arrived.wait()
    stopping = asyncio.create_task(listeners.stop())
    async with asyncio.timeout(60):
        while reached(ports["public"]):  # noqa: ASYNC110 - nobody is told of it
            await asyncio.sleep(0.02)
    go_on.set()
    assert await asking == "finished"
    await stopping


async def test_an_idle_connection_does_not_delay_the_end(secured: Core, tmp_path: Path) -> None:
    listeners, ports = await started(secured, {"gateway": echo_certificate})
    idle = await Connection.open(ports["gateway"], client_context(tmp_path / "authority.pem"))
    assert await idle.ask() == "none"
    async with asyncio.timeout(15):
        await listeners.stop()
    idle.close()


async def test_a_worker_may_begin_while_the_certificate_is_renewed(secured: Core, tmp_path: Path) -> None:
    """`install` removes the file first."""
    file = secured.settings.server_cert
    content = file.read_bytes()
    file.unlink()
    beginning = asyncio.create_task(started(secured, {"public": echo_certificate}))
    await asyncio.sleep(0.3)
    file.write_bytes(content)
    listeners, ports = await beginning
    assert await ask(ports["public"], client_context(tmp_path / "authority.pem")) == "none"
    await listeners.stop()


async def test_a_worker_without_a_certificate_does_not_begin(secured: Core) -> None:
    secured.settings.server_cert.unlink()
    with pytest.raises(TlsError, match=r"server_cert|\.pem"):
        await started(secured, {"public": echo_certificate})


async def test_a_newly_listed_certificate_gets_in(secured: Core, trust: FakeTrust, tmp_path: Path) -> None:
    pair = client_certificate(tmp_path, "new")
    listeners, ports = await started(secured, {"diga": echo_certificate})
    context = client_context(tmp_path / "authority.pem", pair)
    with pytest.raises((OSError, EOFError)):
        await ask(ports["diga"], context)
    trust.ders.append(pair.der)
    async with asyncio.timeout(60):
        while True:
            try:
                assert await ask(ports["diga"], context)
                break
            except (OSError, EOFError):
                await asyncio.sleep(0.1)
    await listeners.stop()


async def test_a_newly_listed_certificate_gets_in_while_the_server_has_another_key(
    secured: Core, trust: FakeTrust, tmp_path: Path
) -> None:
    """What is wrong with the files keeps the certificate that was good in force, and the allow list as it is now."""
    core = replace(secured, fleet=Fleet(), jobs=Jobs())
    pair = client_certificate(tmp_path, "newest")
    listeners, ports = await started(core, {"diga": echo_certificate})
    served = core.settings.server_cert.read_bytes()
    core.settings.server_key.write_bytes(pair.key.read_bytes())
    core.settings.server_cert.write_bytes(pair.cert.read_bytes()[:100])
    trust.ders.append(pair.der)
    async with asyncio.timeout(60):
        while True:
            try:
                assert await ask(ports["diga"], client_context(tmp_path / "authority.pem", pair))
                break
            except (OSError, EOFError):
                await asyncio.sleep(0.1)
        while core.jobs.states["tls-files"].failures == 0:  # noqa: ASYNC110 - a matter of one round
            await asyncio.sleep(0.1)
    assert core.fleet.certificate() == served
    days = days_left(core, core.clock())
    assert days is not None and days > 300, "of what is served, not of the file"
    await listeners.stop()


async def test_a_newly_registered_bridge_gets_in(secured: Core, tmp_path: Path) -> None:
    core, pair = replace(secured, bridges=Anchors()), client_certificate(tmp_path, "bridge")
    listeners, ports = await started(core, {"gateway": echo_certificate})
    context = client_context(tmp_path / "authority.pem", pair)
    with pytest.raises((OSError, EOFError)):
        await ask(ports["gateway"], context)
    await gateway_certificates.add(
        core.pool, pair.der, Facts("bridge of the listeners", expires_ms(pair.der)), core.clock()
    )
    await core.bridges.refresh(core.pool)
    async with asyncio.timeout(60):
        while True:
            try:
                assert await ask(ports["gateway"], context) == hashlib.sha256(pair.der).hexdigest()
                break
            except (OSError, EOFError):
                await asyncio.sleep(0.1)
    assert await ask(ports["gateway"], client_context(tmp_path / "authority.pem")) == "none"
    await gateway_certificates.revoke(core.pool, "bridge of the listeners", core.clock())
    await listeners.stop()


async def test_a_bridge_is_known_by_the_certificate_of_its_connection(secured: Core, tmp_path: Path) -> None:
    core, pair = replace(secured, bridges=Anchors()), client_certificate(tmp_path, "bridge")
    await gateway_certificates.add(
        core.pool, pair.der, Facts("bridge of a connection", expires_ms(pair.der)), core.clock()
    )
    await core.bridges.refresh(core.pool)
    listeners, ports = await started(core, {"gateway": create_gateway(core)})
    statuses = []
    for own in (None, pair):
        context = client_context(tmp_path / "authority.pem", own)
        async with httpx.AsyncClient(verify=context, base_url=f"https://localhost:{ports['gateway']}") as client:
            answer = await client.post("/gateway/v1/bridge/readings", json={"patients": []})
            statuses.append(answer.status_code)
            if own:  # on the connection that is still open
                await gateway_certificates.revoke(core.pool, "bridge of a connection", core.clock())
                statuses.append((await client.post("/gateway/v1/bridge/readings", json={"patients": []})).status_code)
    assert statuses == [403, 200, 403]
    await listeners.stop()


async def test_behind_a_proxy_no_certificate_is_asked_for(secured: Core, tmp_path: Path) -> None:
    core = replace(secured, settings=replace(secured.settings, client_cert_header="client-cert"))
    listeners, ports = await started(core, {"diga": from_proxy(echo_certificate, "client-cert")})
    connection = await Connection.open(ports["diga"], client_context(tmp_path / "authority.pem"))
    assert await connection.ask() == "none"
    assert len(await connection.ask([f"client-cert: :{base64.b64encode(b'der').decode()}:"])) == 64
    connection.close()
    await listeners.stop()
