"""`ddr check tls`: what a TLS scanner would find at the listeners, compared with what is allowed."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

from ddr.cli.errors import CommandError
from ddr.settings import Settings
from ddr.tls.scan import Findings, ScanError, problems, scan
from ddr.tls.server_certificate import Properties, properties


def check_tls(settings: Settings) -> int:
    """Print the report; returns the number of problems. Raises CommandError when a listener is unreachable."""
    listeners = {
        "DiGA": settings.diga_base_url,
        "public": settings.public_base_url,
        "gateway": settings.gateway_base_url,
    }
    return sum(_listener(name, url) for name, url in listeners.items())


def _listener(name: str, url: str) -> int:
    """Report on one listener at its outside address; returns the number of problems."""
    parts, now = urlsplit(url), datetime.now(UTC)
    host = parts.hostname or ""
    try:
        findings = scan(host, parts.port or 443)
    except ScanError as error:
        raise CommandError(f"{name} listener: {error}") from None
    certificate = properties(findings.certificate)
    wrong = [*problems(findings), *certificate.problems(host, now)]
    if findings.distrust:
        wrong.append(f"chain: {findings.distrust}")
    lines = [f"{name} listener, {url}", *_lines(findings, certificate, now), *(f"  PROBLEM {text}" for text in wrong)]
    print("\n".join(lines))
    return len(wrong)


def _lines(findings: Findings, certificate: Properties, now: datetime) -> list[str]:
    described = {
        "versions": findings.versions,
        "suites": findings.suites,
        "groups": findings.groups,
        "signatures": findings.signatures,
        "certificate": (*certificate.names, certificate.key, certificate.signature_hash),
        "valid until": (f"{certificate.not_after:%Y-%m-%d}", f"{(certificate.not_after - now).days} days left"),
        "timestamps": (f"{certificate.timestamps} SCTs",),
    }
    return [f"  {what:12} {', '.join(values)}" for what, values in described.items()]
