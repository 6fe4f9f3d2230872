"""What must be true before a recorder is registered: its certificate, its two base URLs, its live documents.

HDDT security-and-privacy.md (identification and authentication of the Device Data Recorder).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from ddr.miv.model import MivCatalog
from ddr.proxies import client_arguments
from ddr.reasons import in_words
from ddr.settings import Settings
from ddr.tls.server_certificate import RENEW_BEFORE, covers, names_of, own

CONNECT_SECONDS = 10


def certificate_problems(chain: Path, hosts: set[str], now_ms: int) -> list[str]:
    """What is wrong with the server certificate in the PEM file `chain` for a recorder at `hosts`."""
    try:
        leaf = own(chain)
    except (OSError, ValueError) as error:
        return [f"certificate {chain}: cannot be read: {in_words(error)}"]
    now, names = datetime.fromtimestamp(now_ms / 1000, UTC), names_of(leaf)
    found = [f"certificate: {host} is not among its names" for host in sorted(hosts) if not covers(names, host)]
    if leaf.issuer == leaf.subject:
        found.append("certificate: is self-signed")
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        found.append(f"certificate: is valid only from {leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}")
    elif leaf.not_valid_after_utc - now < RENEW_BEFORE:
        found.append(f"certificate: ends at {leaf.not_valid_after_utc}, in less than {RENEW_BEFORE.days} days")
    return found


async def live_problems(settings: Settings, catalog: MivCatalog, ca: str) -> list[str]:
    """What is wrong with the running recorder, requested from outside; `ca` is an extra CA (development)."""
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(ca)
    found = await _unreachable(settings.diga_base_url, context)
    public = settings.public_base_url
    async with httpx.AsyncClient(verify=context, timeout=CONNECT_SECONDS, **client_arguments(public)) as http:
        for path, problems in _DOCUMENTS.items():
            url = f"{public}{path}"
            if (document := await _document(http, url, found)) is not None:
                try:
                    found += problems(document, settings, catalog)
                except (AttributeError, LookupError, TypeError):  # something other than our recorder answers there
                    found.append(f"{url}: is not a document of the expected form")
    return found


async def _unreachable(url: str, context: ssl.SSLContext) -> list[str]:
    """Problems of a TLS connection to `url`; a request for a client certificate is not one."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or 443, ssl=context)
        writer.close()
    except ssl.SSLCertVerificationError as error:
        return [f"{url}: certificate: {error.verify_message}"]
    except ssl.SSLError as error:
        return [] if "CERTIFICATE_REQUIRED" in str(error) or "HANDSHAKE_FAILURE" in str(error) else [f"{url}: {error}"]
    except (OSError, TimeoutError) as error:
        return [f"{url}: cannot be reached: {in_words(error)}"]
    return []


async def _document(http: httpx.AsyncClient, url: str, found: list[str]) -> Mapping[str, Any] | None:
    try:
        response = await http.get(url, headers={"accept": "application/json, application/fhir+json"})
        content = response.json() if response.status_code == httpx.codes.OK else None
    except (httpx.HTTPError, OSError, ValueError, RecursionError) as error:  # TLS 1.3 alerts come unwrapped
        found.append(f"{url}: cannot be read: {in_words(error)}")
        return None
    if not isinstance(content, Mapping):
        found.append(f"{url}: answered HTTP {response.status_code} without a JSON object")
        return None
    return content


def _statement_problems(statement: Mapping[str, Any], settings: Settings, catalog: MivCatalog) -> list[str]:
    found = []
    if statement.get("fhirVersion") != "4.0.1":
        found.append(f"CapabilityStatement: FHIR version {statement.get('fhirVersion')} instead of 4.0.1")
    if (url := statement.get("implementation", {}).get("url")) != settings.fhir_base:
        found.append(f"CapabilityStatement: base URL {url} instead of {settings.fhir_base}")
    resources = [one for rest in statement.get("rest", []) for one in rest.get("resource", [])]
    profiles = {profile for one in resources for profile in one.get("supportedProfile", [])}
    missing = [miv.name for miv in catalog.mivs if not profiles.issuperset(miv.profiles)]
    return [*found, *(f"CapabilityStatement: the profiles of MIV {name} are missing" for name in missing)]


def _metadata_problems(metadata: Mapping[str, Any], settings: Settings, catalog: MivCatalog) -> list[str]:
    found = []
    if metadata.get("issuer") != settings.public_base_url:
        found.append(f"OAuth metadata: issuer {metadata.get('issuer')} instead of {settings.public_base_url}")
    scopes = set(metadata.get("scopes_supported", []))
    return [
        *found,
        *(f"OAuth metadata: scope of MIV {miv.name} is missing" for miv in catalog.mivs if miv.scope not in scopes),
    ]


_DOCUMENTS = {"/fhir/metadata": _statement_problems, "/.well-known/oauth-authorization-server": _metadata_problems}
