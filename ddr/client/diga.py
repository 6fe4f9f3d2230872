"""Who the DiGA is towards a recorder: addresses, client id, certificate."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx

TIMEOUT = httpx.Timeout(30, connect=10)


@dataclass(frozen=True)
class Diga:
    """A DiGA of the DiGA-VZ and the recorder it talks to.

    `issuer` and `fhir_base` as the HIIS-VZ has them; `certificate` and `key` are the PEM files of the registered client
    certificate; `ca` is an extra PEM file to trust (development), "" for the public authorities.
    """

    client_id: str
    redirect_uri: str
    issuer: str
    fhir_base: str
    certificate: Path
    key: Path
    ca: str = ""

    def http(self) -> httpx.AsyncClient:
        """A connection pool that presents the certificate; close it when done. Proxies of the environment are not
        used: mTLS ends at the recorder."""
        context = ssl.create_default_context(cafile=self.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        return httpx.AsyncClient(verify=context, timeout=TIMEOUT, trust_env=False)
