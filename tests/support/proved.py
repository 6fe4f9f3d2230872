"""An application as it sees requests of a connection that has proved a client certificate, as the listeners do."""

from __future__ import annotations

from ddr.http.asgi import ASGIApp, Receive, Scope, Send
from ddr.tls.peer import with_certificate


def proved(app: ASGIApp, certificate: bytes | None) -> ASGIApp:
    """`app` behind a connection with this certificate (DER; any bytes, for who looks at the hash only)."""

    async def over_tls(scope: Scope, receive: Receive, send: Send) -> None:
        with_certificate(scope, certificate)
        await app(scope, receive, send)

    return over_tls
