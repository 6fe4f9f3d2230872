"""Which address counts, black box: behind a trusted proxy the client's, else the peer's, whatever a client sends."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from ddr.gateway.auth import FAILURES
from ddr.settings import Settings
from tests.spec.backend import Backend
from tests.spec.conftest import received
from tests.spec.patient_pages import ENGLISH, form_of
from tests.spec.world import CGM
from tests.support.proxying import ask, header
from tests.support.recorder import PASSWORD, Recorder, recorder
from tests.tls.support import client_context

PROXY: dict[str, Any] = {"trusted_proxies": "127.0.0.1 ::1", "client_address_header": "X-Forwarded-For"}
_GUESSES = count()


async def guess(ddr: Recorder, *forwarded: str) -> int:
    """The response to a gateway with an unknown token whose request comes through these hops."""
    headers = [("authorization", f"Bearer guess-{next(_GUESSES)}"), *(("x-forwarded-for", hop) for hop in forwarded)]
    http = await ddr.client(base_url=f"{ddr.settings.gateway_base_url}/gateway/v1", headers=headers)
    return (await http.get("devices")).status_code


async def test_behind_a_proxy_each_client_counts_alone(pool: asyncpg.Pool, settings: Settings, tmp_path: Path) -> None:
    async with recorder(pool, replace(settings, **PROXY), tmp_path, received, {}) as ddr:
        assert [await guess(ddr, "203.0.113.1") for _ in range(FAILURES)] == [401] * FAILURES
        assert await guess(ddr, "203.0.113.1") == 429
        assert await guess(ddr, "198.51.100.7, 203.0.113.1") == 429  # invented addresses in front do not help
        assert await guess(ddr, "198.51.100.7", "203.0.113.1") == 429
        assert await guess(ddr, "203.0.113.2") == 401
        assert await guess(ddr, "2001:db8::1") == 401


async def test_without_a_trusted_proxy_the_header_means_nothing(
    pool: asyncpg.Pool, settings: Settings, tmp_path: Path
) -> None:
    """Neither when no proxy is set, nor from somebody other than the proxy."""
    for number, changes in enumerate(({}, {**PROXY, "trusted_proxies": "10.9.9.9"})):
        folder = tmp_path / str(number)
        async with recorder(pool, replace(settings, **changes), folder, received, {}) as ddr:
            answers = [await guess(ddr, f"203.0.113.{n}") for n in range(FAILURES + 1)]
            assert answers == [401] * FAILURES + [429]


async def test_a_proxy_that_passes_tcp_through_names_each_client(
    pool: asyncpg.Pool, settings: Settings, tmp_path: Path
) -> None:
    """PROXY protocol: a client behind the proxy that guesses is locked out, and nobody else."""
    async with recorder(pool, replace(settings, proxy_protocol_from="127.0.0.1"), tmp_path, received, {}) as ddr:
        trusting = client_context(ddr.authority.cert)

        async def guess_from(address: str) -> int:
            line = f"Authorization: Bearer guess-{next(_GUESSES)}\r\n"
            port, path = urlsplit(ddr.settings.gateway_base_url).port or 0, "/gateway/v1/devices"
            return (await asyncio.to_thread(ask, port, trusting, header(address), path, line))[0]

        assert [await guess_from("203.0.113.1") for _ in range(FAILURES)] == [401] * FAILURES
        assert await guess_from("203.0.113.1") == 429
        assert await guess_from("203.0.113.2") == 401
        assert await guess_from("2001:db8::1") == 401
        with pytest.raises(httpx.TransportError):
            await guess(ddr)  # from the proxy's own address, and without a header


async def test_a_certificate_in_a_header_from_somebody_else(
    pool: asyncpg.Pool, settings: Settings, tmp_path: Path
) -> None:
    """With trusted_proxies set, a client that reaches the listener past the proxy cannot claim to be a DiGA."""
    for trusted, status in (("127.0.0.1 ::1", 201), ("10.9.9.9", 401)):
        changes: dict[str, Any] = {"client_cert_header": "Client-Cert", "trusted_proxies": trusted}
        async with recorder(pool, replace(settings, **changes), tmp_path / trusted[:4], received, {}) as ddr:
            diga = await ddr.diga(CGM)
            header = {"client-cert": f":{base64.b64encode(diga.certificate.der).decode()}:"}
            assert (await Backend(ddr, diga).push(CGM, http=await ddr.client(headers=header))).status_code == status


async def test_wrong_passwords_count_for_who_typed_them(
    pool: asyncpg.Pool, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddr.store.patients.login_attempts.ADDRESS_LIMIT", 2)
    async with recorder(pool, replace(settings, **PROXY), tmp_path, received, {}) as ddr:

        async def login(address: str, username: str, password: str) -> int:
            headers = {**ENGLISH, "x-forwarded-for": address}
            http = await ddr.client(base_url=ddr.settings.public_base_url, headers=headers)
            form = dict(form_of(await http.get("/login"), "username").hidden)
            return (await http.post("/login", data={**form, "username": username, "password": password})).status_code

        network = f"2001:db8:{ddr.number():x}:1"
        assert [await login(f"{network}::{n}", f"nobody-{n}", "wrong") for n in range(3)] == [422, 422, 429]
        patient = await ddr.patient()
        assert await login(f"{network}::9", patient.username, PASSWORD) == 303
        assert await login(f"{network[:-1]}2::1", "nobody", "wrong") == 422
