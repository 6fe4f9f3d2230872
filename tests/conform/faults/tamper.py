"""Sits between the kit and our recorder: changes requests on their way, and replaces responses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from ddr.fhir.xml_reader import read_xml
from ddr.fhir.xml_writer import write_xml

Json = dict[str, Any]
FHIR_XML = "application/fhir+xml"
PUSHED = {"request_uri": "urn:ietf:params:oauth:request_uri:made-up", "expires_in": 60}
_DECIMAL = re.compile(r'"\\u0001([^"\\]+)\\u0001"')


class Harm(Protocol):
    """Answers `request` of `client_id` ("" for none) in the place of the recorder; `tamper.pass_on` asks it."""

    def __call__(self, tamper: Tamper, request: httpx.Request) -> httpx.Response: ...


@dataclass
class Tamper(httpx.BaseTransport):
    """One client's way to the recorder; `ways` are those of all clients of this run, by client_id."""

    inner: httpx.BaseTransport
    client_id: str
    harm: Harm
    ways: dict[str, Tamper]
    memory: dict[str, Any] = field(default_factory=dict)  # shared by all clients, for harms that need to know more

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, tampered with."""
        return self.harm(self, request)

    def pass_on(self, request: httpx.Request) -> httpx.Response:
        """The recorder's own answer, with its body read."""
        answer = self.inner.handle_request(request)
        answer.read()
        kept = [(key, value) for key, value in answer.headers.multi_items() if key != "content-encoding"]
        return httpx.Response(answer.status_code, headers=kept, content=answer.content, request=request)

    def close(self) -> None:
        """End the connection."""
        self.inner.close()


def wrapping(harm: Harm) -> Callable[[httpx.BaseTransport, str], httpx.BaseTransport]:
    """For `ddr.conform.wire.Wire`."""
    ways: dict[str, Tamper] = {}
    memory: dict[str, Any] = {}

    def wrap(transport: httpx.BaseTransport, client_id: str) -> httpx.BaseTransport:
        tamper = Tamper(transport, client_id, harm, ways, memory)
        ways.setdefault(client_id, tamper)
        return tamper

    return wrap


def asks(request: httpx.Request, path: str, method: str = "", query: str = "") -> bool:
    """Whether path, method and query (regular expressions, anywhere in them) fit."""
    parts = urlsplit(str(request.url))
    fits = re.search(path, parts.path) and re.search(query, f"{parts.query}&{_form(request)}")
    return bool(fits) and method in ("", request.method)


def rewritten(request: httpx.Request, old: str, new: str) -> httpx.Request:
    """The request with another query and form (regular expression and its replacement)."""
    url, body = urlsplit(str(request.url)), _form(request)
    changed = url._replace(query=re.sub(old, new, url.query)).geturl()
    headers = {key: value for key, value in request.headers.items() if key not in ("content-length", "host")}
    return httpx.Request(
        request.method, changed, headers=headers, content=re.sub(old, new, body) if body else request.content
    )


def answered(request: httpx.Request, status: int, body: Json | None = None, **headers: str) -> httpx.Response:
    """An answer that the recorder never gave."""
    fields = {"content-type": "application/json", "cache-control": "no-store", **headers}
    return httpx.Response(status, headers=fields, content=b"" if body is None else dumped(body), request=request)


def edited(answer: httpx.Response, edit: Callable[[Json], object]) -> httpx.Response:
    """The answer with its body changed, the same in JSON and in XML."""
    kind = answer.headers.get("content-type", "")
    if "json" in kind:
        body = loaded(answer.content)
        edit(body)
        return replaced(answer, dumped(body))
    if kind.startswith(FHIR_XML):
        body = read_xml(answer.content)
        edit(body)
        return replaced(answer, write_xml(body))
    return answer


def replaced(
    answer: httpx.Response, content: bytes | None = None, *, status: int = 0, **headers: str | None
) -> httpx.Response:
    """The answer with another body, status, or headers (names with _; None takes away)."""
    fields = {key: value for key, value in answer.headers.items() if key not in ("content-length", "etag")}
    for name, value in headers.items():
        fields.pop(name.replace("_", "-"), None)
        if value is not None:
            fields[name.replace("_", "-")] = value
    body = answer.content if content is None else content
    return httpx.Response(status or answer.status_code, headers=fields, content=body, request=answer.request)


def resources(body: Json) -> list[Json]:
    """What a Bundle holds, or the resource itself."""
    if body.get("resourceType") == "Bundle":
        return [entry["resource"] for entry in body.get("entry") or () if "resource" in entry]
    return [body]


def loaded(content: bytes) -> Json:
    """JSON with each decimal kept as it is written (`dumped` undoes it)."""
    found: Json = json.loads(content, parse_float=lambda text: f"\x01{text}\x01")
    return found


def dumped(body: Json) -> bytes:
    """The bytes of what `loaded` gave."""
    return _DECIMAL.sub(r"\1", json.dumps(body)).encode()


def _form(request: httpx.Request) -> str:
    kind = request.headers.get("content-type", "")
    return request.content.decode() if "x-www-form-urlencoded" in kind else ""
