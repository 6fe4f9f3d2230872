"""The client certificate of a request, whoever terminated TLS. Only this file knows where it comes from."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
LOST = "ddr.lost"  # extension of the scope: a function that says whether the connection is lost
ASGIApp = Callable[[Scope, Any, Any], Awaitable[None]]


def client_certificate(scope: Scope) -> bytes | None:
    """DER of the certificate that the client has proved to hold, or None."""
    tls = scope.get("extensions", {}).get("tls", {})
    certificate: bytes | None = tls.get("client_cert_der")
    return certificate


def with_certificate(scope: Scope, der: bytes | None) -> None:
    """Put a client certificate into the scope; replaces the ASGI TLS extension."""
    scope["extensions"] = {**scope.get("extensions", {}), "tls": {"client_cert_der": der}}


def from_proxy(app: ASGIApp, name: str) -> ASGIApp:
    """`app` behind a proxy that ends TLS and sends the client certificate in the header `name` (RFC 9440, Client-Cert).

    The proxy must remove that header from outside requests, and nobody else may reach this listener. A repeated or
    malformed header counts as no certificate.
    """
    wanted = name.lower().encode("latin-1")

    async def reading(scope: Scope, receive: Any, send: Any) -> None:
        values = [value for key, value in scope["headers"] if key == wanted]
        with_certificate(scope, _byte_sequence(values[0]) if len(values) == 1 else None)
        await app(scope, receive, send)

    return reading


def _byte_sequence(value: bytes) -> bytes | None:
    """A byte sequence of RFC 8941 section 3.3.5: base64 between colons, also without padding (section 4.2.7)."""
    text = value.strip()
    if len(text) < 3 or not (text.startswith(b":") and text.endswith(b":")):
        return None
    encoded = text[1:-1]
    try:
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        return None
