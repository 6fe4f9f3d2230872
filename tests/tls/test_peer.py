"""The client certificate from a TLS-terminating proxy."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ddr.tls.peer import client_certificate, from_proxy

DER = bytes(range(60))
HEADER = b":" + base64.b64encode(DER) + b":"


async def seen(*headers: tuple[bytes, bytes]) -> bytes | None:
    found: list[bytes | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(client_certificate(scope))

    await from_proxy(app, "Client-Cert")({"headers": list(headers), "extensions": {"other": {}}}, None, None)
    return found[0]


async def test_the_header_of_rfc_9440_is_read() -> None:
    assert await seen((b"client-cert", HEADER)) == DER


@pytest.mark.parametrize("length", [58, 59, 60])
async def test_base64_need_not_be_padded(length: int) -> None:
    assert await seen((b"client-cert", b":" + base64.b64encode(DER[:length]).rstrip(b"=") + b":")) == DER[:length]


@pytest.mark.parametrize("value", [b"", b"::", b":", DER, HEADER[:-1], b":@@@:", b":A:", HEADER + b", " + HEADER])
async def test_malformed_headers_count_as_no_certificate(value: bytes) -> None:
    assert await seen((b"client-cert", value)) is None


async def test_a_repeated_header_counts_as_no_certificate() -> None:
    assert await seen((b"client-cert", HEADER), (b"client-cert", HEADER)) is None


def test_without_a_proxy_the_header_means_nothing() -> None:
    assert client_certificate({"headers": [(b"client-cert", HEADER)]}) is None
