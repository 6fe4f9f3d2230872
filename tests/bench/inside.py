"""Requests directly to the application of a listener, without TLS and network: the cost of the recorder itself."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import orjson

from ddr.http.asgi import ASGIApp
from ddr.tls.peer import with_certificate


async def ask(
    app: ASGIApp,
    method: str,
    target: str,
    fields: dict[str, str],
    body: bytes = b"",
    certificate: bytes | None = None,
    address: str = "127.0.0.1",
) -> bytes:
    """The body of an answer below 300."""
    path, _, query = target.partition("?")
    headers = [(b"host", b"localhost"), *((name.encode(), value.encode()) for name, value in fields.items())]
    if body:
        headers.append((b"content-length", b"%d" % len(body)))
    scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": method, "path": path, "headers": headers}
    scope |= {"query_string": query.encode(), "client": (address, 1), "scheme": "https"}
    with_certificate(scope, certificate)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answer: bytes = sent[1]["body"]
    if sent[0]["status"] >= 300:
        raise RuntimeError(f"{path}: {sent[0]['status']} {answer[:300]!r}")
    return answer


class Backend:
    """A DiGA's backend, paired with one patient; its refresh token moves on."""

    def __init__(self, app: ASGIApp, certificate: bytes, client_id: str, tokens: dict[str, Any]) -> None:
        self._app, self._certificate, self._client_id = app, certificate, client_id
        self._access, self._refresh = tokens["access_token"], tokens["refresh_token"]

    async def get(self, target: str) -> bytes:
        """A resource or a searchset, `target` below /fhir."""
        fields = {"accept": "application/fhir+json", "authorization": f"Bearer {self._access}"}
        return await ask(self._app, "GET", f"/fhir/{target}", fields, certificate=self._certificate)

    async def refresh(self) -> bytes:
        """New tokens."""
        form = {"grant_type": "refresh_token", "refresh_token": self._refresh, "client_id": self._client_id}
        fields = {"content-type": "application/x-www-form-urlencoded"}
        body = urlencode(form).encode()
        answer = await ask(self._app, "POST", "/oauth/token", fields, body, self._certificate)
        told = orjson.loads(answer)
        self._access, self._refresh = told["access_token"], told["refresh_token"]
        return answer

    async def poll(self, target: str) -> bytes:
        """A refresh and a search."""
        await self.refresh()
        return await self.get(target)
