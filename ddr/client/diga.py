"""Who the DiGA is towards a recorder: addresses, client id, certificate."""

from __future__ import annotations

import ssl
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import httpx

TIMEOUT = httpx.Timeout(30, connect=10)


class ConfigError(ValueError):
    """A configuration file that cannot be used; the text is one line that says why."""


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

    @classmethod
    def from_file(cls, file: Path) -> Diga:
        """From a TOML file with these names; paths in it are relative to it. Raises ConfigError, OSError."""
        content = read_toml(file)
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name != "ca" and not isinstance(content.get(name), str)]
        if missing:
            raise ConfigError(f"{file}: {', '.join(missing)} must be given as text")
        found: dict[str, Any] = {name: content[name] for name in names if name in content}
        for name in ("certificate", "key"):
            found[name] = file.parent / found[name]
        if found.get("ca"):
            found["ca"] = str(file.parent / found["ca"])
        for name in ("issuer", "fhir_base"):
            found[name] = found[name].rstrip("/")
        return cls(**found)

    def http(self) -> httpx.AsyncClient:
        """A connection pool that presents the certificate; close it when done. Proxies of the environment are not
        used: mTLS ends at the recorder. Raises OSError, ssl.SSLError for files that cannot be used."""
        context = ssl.create_default_context(cafile=self.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        return httpx.AsyncClient(verify=context, timeout=TIMEOUT, trust_env=False)


def read_toml(file: Path) -> dict[str, Any]:
    """What it says. Raises ConfigError, OSError."""
    try:
        return tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from None
