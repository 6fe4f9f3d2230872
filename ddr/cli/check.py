"""`ddr check`: checks the running recorder from outside: its TLS, its DNS names, its interface as a DiGA uses it.

Each check ends with status 1 when something is wrong, so that a timer on another machine can watch the recorder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ddr.cli.actions import action
from ddr.cli.checks.api import check_api
from ddr.cli.checks.tls import check_tls
from ddr.cli.errors import CommandError
from ddr.client import Diga
from ddr.settings import Settings
from ddr.settings_sources import load_settings

HELP = "check the running recorder from outside"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Without an action it checks TLS, which needs no further argument."""
    parser.set_defaults(does=_tls)
    actions = parser.add_subparsers(metavar="WHAT")
    action(
        actions, "tls", _tls, "check each listener's TLS versions, cipher suites, groups, signatures and certificate"
    )
    dns = action(
        actions, "dns", _dns, "check the addresses of the listeners' names, and who may issue certificates (CAA)"
    )
    dns.add_argument(
        "--server", default="", metavar="ADDRESS[:PORT]", help="the resolver to ask (default: the system's)"
    )
    api = action(actions, "api", _api, "do a complete poll as a DiGA: refresh, search, pages, read")
    api.add_argument("--client-id", required=True, help="a listed DiGA that is paired with a test patient")
    api.add_argument(
        "--certificate", type=Path, required=True, metavar="FILE", help="the DiGA's client certificate (PEM)"
    )
    api.add_argument("--key", type=Path, required=True, metavar="FILE", help="the certificate's private key (PEM)")
    api.add_argument(
        "--refresh-token",
        type=Path,
        required=True,
        metavar="FILE",
        help="holds the refresh token; the next one replaces it",
    )
    api.add_argument("--ca", default="", metavar="FILE", help="an extra CA to trust (development)")


def run(args: argparse.Namespace) -> int:
    """Print the report; status 1 when anything is wrong."""
    settings = load_settings(allow_builtin_accounts=True)  # how patients log in is invisible from outside
    if count := args.does(args, settings):
        raise CommandError(f"{count} problem{'s' if count > 1 else ''} found")
    return 0


def _tls(args: argparse.Namespace, settings: Settings) -> int:
    return check_tls(settings)


def _dns(args: argparse.Namespace, settings: Settings) -> int:
    from ddr.cli.checks.dns import check_dns  # the only one that needs its library

    return check_dns(settings, args.server)


def _api(args: argparse.Namespace, settings: Settings) -> int:
    certificate = (args.certificate, args.key, args.ca)
    return check_api(
        Diga(args.client_id, "", settings.public_base_url, settings.fhir_base, *certificate), args.refresh_token
    )
