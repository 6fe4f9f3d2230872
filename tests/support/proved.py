"""An application receiving requests on a connection with a proved client certificate, as from the listeners."""

from __future__ import annotations

from ddr.http.asgi import ASGIApp, Receive, Scope, Send
from ddr.tls.peer import with_certificate


def proved(app: ASGIApp, certificate: bytes | None) -> ASGIApp:
    """`app` behind a connection with this certificate (DER; any bytes, if only its hash is used)."""

    async def over_tls(scope: Scope, receive: Receive, send: Send) -> None:
        with_certificate(scope, certificate)
        await app(scope, receive, send)

    return over_tls
