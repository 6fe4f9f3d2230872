"""`ddr check tls`: what a TLS scanner would find at the running listeners, compared with what is allowed."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from urllib.parse import urlsplit

from ddr.cli.errors import CommandError
from ddr.settings import Settings
from ddr.settings_sources import load_settings
from ddr.tls.scan import Findings, ScanError, problems, scan
from ddr.tls.server_certificate import Properties, properties

HELP = "check the running recorder from outside"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`check` with its own subcommands; without one it checks everything there is."""
    actions = subparsers.add_parser("check", help=HELP, description=__doc__).add_subparsers(metavar="WHAT")
    actions.add_parser("tls", help="protocol versions, suites, groups, signatures and certificate of each listener")


def run(args: argparse.Namespace) -> int:
    """Print the report; status 1 when anything is beyond the profile of BSI TR-02102-2 or wrong with a certificate."""
    found = [_listener(name, url) for name, url in _listeners(load_settings()).items()]
    if count := sum(found):
        raise CommandError(f"{count} problem{'s' if count > 1 else ''} found")
    return 0


def _listeners(settings: Settings) -> dict[str, str]:
    return {
        "DiGA": settings.diga_base_url,
        "public": settings.public_base_url,
        "gateway": settings.gateway_base_url,
    }


def _listener(name: str, url: str) -> int:
    """Report on one listener as it is seen at its outside address; the number of problems."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        findings = scan(host, parts.port or 443)
    except ScanError as error:
        raise CommandError(f"{name} listener: {error}") from None
    certificate = properties(findings.certificate)
    wrong = [*problems(findings), *certificate.problems(host, datetime.now(UTC))]
    print(
        "\n".join([f"{name} listener, {url}", *_lines(findings, certificate), *(f"  PROBLEM {text}" for text in wrong)])
    )
    return len(wrong)


def _lines(findings: Findings, certificate: Properties) -> list[str]:
    described = {
        "versions": findings.versions,
        "suites": findings.suites,
        "groups": findings.groups,
        "signatures": findings.signatures,
        "certificate": (*certificate.names, certificate.key, certificate.signature_hash),
        "valid until": (f"{certificate.not_after:%Y-%m-%d}",),
    }
    return [f"  {what:12} {', '.join(values)}" for what, values in described.items()]
