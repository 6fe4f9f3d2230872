"""uvicorn's HTTP protocol, with the client certificate in the scope (uvicorn itself does not offer it yet)."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ddr.tls.peer import with_certificate


class TlsHttpProtocol(HttpToolsProtocol):
    """Reads the certificate once per connection and puts it into the scope of each request."""

    _client_certificate: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the certificate that the handshake has verified."""
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        self._client_certificate = connection.getpeercert(binary_form=True) if connection else None

    def on_message_begin(self) -> None:
        """Add the certificate to the new scope."""
        super().on_message_begin()
        with_certificate(self.scope, self._client_certificate)  # type: ignore[arg-type]
