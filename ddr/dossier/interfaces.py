"""What a running recorder says about its interfaces, and what its listeners accept, as anybody sees it from outside."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from ddr.dossier.model import Chapter, Row
from ddr.reasons import in_words
from ddr.settings import Settings
from ddr.tls.scan import ScanError, problems, scan
from ddr.tls.server_certificate import properties

# The documents requested at each base URL, by the name of the file that stores them.
DOCUMENTS = {
    "capability-statement.json": ("public_base_url", "/fhir/metadata"),
    "oauth-metadata.json": ("public_base_url", "/.well-known/oauth-authorization-server"),
    "openapi-diga.json": ("public_base_url", "/docs/openapi.json"),
    "openapi-gateway.json": ("gateway_base_url", "/gateway/v1/openapi.json"),
    "status.schema.json": ("public_base_url", "/status.schema.json"),
}
LISTENERS = {"DiGA": "diga_base_url", "public": "public_base_url", "gateway": "gateway_base_url"}
_METHODS = ("get", "post", "put", "delete", "patch")


@dataclass
class Seen:
    """Chapters and documents, and one line for everything that could not be seen or is wrong."""

    chapters: list[Chapter] = field(default_factory=list)
    documents: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def interfaces(settings: Settings, ca: str = "") -> Seen:
    """The interface documents, fetched from the running recorder; `ca` is a file with an additional CA."""
    seen = Seen()
    operations: list[Row] = []
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(ca)
    with httpx.Client(verify=context, trust_env=False, timeout=30) as client:
        for name, (base, path) in DOCUMENTS.items():
            url = getattr(settings, base) + path
            try:
                document = client.get(url).raise_for_status().json()
                operations += list(_operations(name, document))
            except (httpx.HTTPError, OSError, ValueError) as error:  # TLS 1.3 alerts come unwrapped
                seen.missing.append(f"interface {url}: {in_words(error)}")
            except (AttributeError, LookupError, TypeError):  # something other than our recorder answers there
                seen.missing.append(f"interface {url}: is not a document of the expected form")
            else:
                seen.documents[name] = document
    about = "Fetched from the running recorder; the complete documents are beside this page (chapter Documents)."
    seen.chapters.append(Chapter("Interfaces", about, operations, by="document"))
    return seen


def listeners(settings: Settings) -> Seen:
    """The findings of a TLS scan at each listener, against BSI TR-02102-2 and HDDT's requirements on the
    certificate."""
    seen, rows, now = Seen(), [], datetime.now(UTC)
    for name, base in LISTENERS.items():
        url = getattr(settings, base)
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            found = scan(host, parts.port or 443)
        except ScanError as error:
            seen.missing.append(f"{name} listener: {error}")
            continue
        certificate = properties(found.certificate)
        until = f"{certificate.not_after:%Y-%m-%d}"
        told = [*problems(found), *certificate.problems(host, now)]
        rows.append(
            {
                "listener": f"{name}\n{url}",
                "versions": "\n".join(found.versions),
                "suites": "\n".join(found.suites),
                "groups": "\n".join(found.groups),
                "signatures": "\n".join(found.signatures),
                "certificate": f"{certificate.key}, {certificate.signature_hash}\nuntil {until}",
                "beyond the profile": "\n".join(told) or "nothing",
            }
        )
    about = (
        "Probed from outside, with one connection for each accepted parameter; the profile of BSI"
        " TR-02102-2 is allowed. The certificate is the operator's: development certificates fail here."
    )
    seen.chapters.append(Chapter("TLS scan", about, rows))
    return seen


def _operations(name: str, document: Mapping[str, Any]) -> Iterator[Row]:
    """A line for each operation, resource type or endpoint that a document names."""
    for path, item in document.get("paths", {}).items():
        for method in _METHODS:
            if method in item:
                summary = item[method].get("summary") or item[method].get("description", "")
                yield {"document": name, "what": f"{method.upper()} {path}", "says": summary}
    for resource in (document.get("rest") or [{}])[0].get("resource", ()):
        said = [one["code"] for one in resource.get("interaction", ())]
        said += [f"${one['name']}" for one in resource.get("operation", ())]
        found = ", ".join(one["name"] for one in resource.get("searchParam", ()))
        yield {"document": name, "what": resource["type"], "says": f"{', '.join(said)}\nsearch by {found}"}
    for key, value in document.items():
        if key == "issuer" or key.endswith(("_endpoint", "_uri", "_supported")):
            shown = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
            yield {"document": name, "what": key, "says": shown}
    if "$schema" in document:
        for key, one in document.get("properties", {}).items():
            yield {"document": name, "what": key, "says": one.get("description") or one.get("title", "")}
