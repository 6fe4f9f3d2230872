"""How a DiGA presents itself to a recorder: addresses, client id, certificate."""

from __future__ import annotations

import re
import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

TIMEOUT = httpx.Timeout(30, connect=10)


class ConfigError(ValueError):
    """A configuration file that cannot be used; the message is one line that says why."""


@dataclass(frozen=True)
class Diga:
    """A DiGA of the DiGA-VZ and the recorder it talks to.

    `issuer` and `fhir_base` are as in the HIIS-VZ; `certificate` and `key` are the PEM files of the registered client
    certificate; `ca` is a PEM file of authorities to trust (development), "" for the public ones.
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
        """Read a TOML file with these names; its paths are relative to the file. Raises ConfigError, OSError."""
        content = read_toml(file)
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if name != "ca" and not isinstance(content.get(name), str)]
        if missing:
            raise ConfigError(f"{file}: {', '.join(missing)} must be given as strings")
        found: dict[str, Any] = {name: content[name] for name in names if name in content}
        for name in ("certificate", "key"):
            found[name] = file.parent / found[name]
        found["ca"] = ca_of(content, file)
        for name in ("issuer", "fhir_base"):
            found[name] = address_of(content, name, file)
        return cls(**found)

    def http(self) -> httpx.AsyncClient:
        """A connection pool that presents the certificate; close it when done. It ignores proxies of the environment,
        since mTLS ends at the recorder. Raises OSError, ssl.SSLError for files that cannot be used."""
        context = trusting(self.ca)
        for file in (self.certificate, self.key):
            _readable(file)
        context.load_cert_chain(self.certificate, self.key, password="")  # never prompt on a terminal
        return httpx.AsyncClient(verify=context, timeout=TIMEOUT, trust_env=False)


def trusting(ca: str = "") -> ssl.SSLContext:
    """A TLS context that trusts the public authorities, or those of the PEM file `ca`. Raises OSError, ssl.SSLError."""
    if ca:
        _readable(Path(ca))
    context = ssl.create_default_context(cafile=ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _readable(file: Path) -> None:
    """Raises OSError with the name of the file, which errors of ssl lack."""
    file.open("rb").close()


def address_of(content: Mapping[str, Any], name: str, file: Path) -> str:
    """The URL that `file` gives as `name`, without a trailing slash. Raises ConfigError when it is not a URL."""
    text = content.get(name)
    try:
        parts = urlsplit(text) if isinstance(text, str) else urlsplit("")
        good = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not isinstance(text, str) or not good or re.search(r"\s", text):
        raise ConfigError(f"{file}: {name} must be a URL such as https://recorder.example")
    return text.rstrip("/")


def ca_of(content: Mapping[str, Any], file: Path) -> str:
    """The path of the PEM file of authorities to trust, "" for none. Raises ConfigError."""
    name = content.get("ca", "")
    if not isinstance(name, str):
        raise ConfigError(f"{file}: ca must be the name of a file")
    return str(file.parent / name) if name else ""


def read_toml(file: Path) -> dict[str, Any]:
    """The content of a TOML file, which may begin with a byte order mark. Raises ConfigError, OSError."""
    try:
        return tomllib.loads(file.read_text("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from None
