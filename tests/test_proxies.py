"""A proxy in the environment: only for addresses outside."""

from __future__ import annotations

import httpx
import pytest

from ddr.identity.provider import Provider
from ddr.proxies import client_arguments, is_loopback
from ddr.registries.fhir_search import http_client
from ddr.settings import Settings

LOCAL = ("https://localhost:8443/x", "http://127.0.0.1:9", "https://[::1]:1/", "https://diga.localhost")


@pytest.fixture(autouse=True)
def proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def through_proxy(client: httpx.Client | httpx.AsyncClient, url: str) -> bool:
    return client._transport_for_url(httpx.URL(url)) is not client._transport


@pytest.mark.parametrize("url", LOCAL)
def test_this_machine_is_asked_directly(url: str) -> None:
    assert is_loopback(url)
    assert not through_proxy(httpx.Client(**client_arguments(url)), url)
    mixed = httpx.Client(**client_arguments(url, "https://bfarm.example"))
    assert not through_proxy(mixed, url)
    assert through_proxy(mixed, "https://bfarm.example")


def test_a_proxy_that_we_cannot_use_does_not_matter_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.example:1080")
    with pytest.raises(ImportError):
        httpx.Client()
    httpx.Client(**client_arguments("https://localhost:8443"))


@pytest.mark.parametrize("url", ["https://127.0.0.1.example", "https://localhost.example", "https://[", "x"])
def test_what_only_looks_like_it_is_not(url: str) -> None:
    assert not is_loopback(url)


async def test_clients_of_the_recorder(settings: Settings) -> None:
    registries, provider = http_client(settings), Provider(settings, lambda: 0).http
    for client in (registries, provider):
        assert not through_proxy(client, "https://localhost:8447/fhir")
        assert through_proxy(client, "https://diga.bfarm.de/api")
        await client.aclose()
