"""`ddr hiis`: the registration in BfArM's HIIS-VZ: prepared, checked, and compared with what is registered."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import orjson

from ddr.cli.actions import actions_of
from ddr.cli.arguments import authority
from ddr.cli.ending import waking
from ddr.cli.errors import CommandError
from ddr.cli.operator import now_ms, with_database
from ddr.drafts import draft
from ddr.fhir.instants import date_time
from ddr.miv.model import MivCatalog
from ddr.reasons import in_words
from ddr.registries.errors import RegistryFault
from ddr.registries.fhir_search import http_client
from ddr.registries.hiis import bundle, registration, resources
from ddr.registries.hiis_checks import certificate_problems, live_problems
from ddr.registries.hiis_vz import complaints, registered
from ddr.registries.terminology import current_catalog
from ddr.settings import Settings

HELP = "prepare the registration with BfArM, and compare it with the HIIS-VZ"
NAMES = {"hl7-fhir-rest": "FHIR Resource Server", "oauth-authz-server": "OAuth2 Authorization Server"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    register = actions.add_parser(
        "register", help="check the recorder, and write the Bundle and a sheet for BfArM's portal"
    )
    register.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="directory for the two files")
    register.add_argument("--offline", action="store_true", help="do not ask the running recorder")
    register.add_argument("--ca", type=authority, default="", metavar="FILE", help="an extra CA to trust (development)")
    actions.add_parser("diff", help="compare the recorder with its registration; status 1 if they differ")


def run(args: argparse.Namespace) -> int:
    """Returns 1 when something is wrong; `register` writes its files only when nothing is."""
    settings, catalog, now = with_database(_current)
    if args.action == "diff":
        return waking(_diff(settings, catalog))
    problems = waking(_problems(settings, catalog, args, now))
    if problems:
        raise CommandError("not ready to be registered:\n" + "\n".join(f"  {one}" for one in problems))
    args.out.mkdir(parents=True, exist_ok=True)
    written = {
        "hiis-registration.json": orjson.dumps(bundle(resources(settings, catalog)), option=orjson.OPT_INDENT_2),
        "hiis-registration.md": sheet(settings, catalog, now).encode(),
    }
    for name, content in written.items():
        with draft(args.out / name) as file:
            file.write(content)
        print(args.out / name)
    return 0


async def _current(settings: Settings, pool: object) -> tuple[Settings, MivCatalog, int]:
    return settings, await current_catalog(settings, pool), now_ms()


async def _problems(settings: Settings, catalog: MivCatalog, args: argparse.Namespace, now: int) -> list[str]:
    hosts = {urlsplit(url).hostname or "" for url in (settings.diga_base_url, settings.public_base_url)}
    found = [f"setting {name} is empty" for name in ("manufacturer", "product_name") if not getattr(settings, name)]
    found += certificate_problems(settings.server_cert, hosts, now)
    return found if args.offline else [*found, *await live_problems(settings, catalog, args.ca)]


async def _diff(settings: Settings, catalog: MivCatalog) -> int:
    if not settings.hiis_id:
        raise CommandError("setting hiis_id is empty; BfArM assigns the number when it registers the recorder")
    try:
        async with http_client(settings) as http:
            theirs = await registered(http, settings)
    except (RegistryFault, OSError, httpx.InvalidURL) as error:
        raise CommandError(f"HIIS-VZ: {in_words(error, named=True)}") from None
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # for responses that nobody anticipated
        raise CommandError(f"HIIS-VZ: cannot be read: {type(error).__name__}") from None
    lines = complaints(registration(settings, catalog), theirs, settings.hiis_id)
    print("\n".join(lines) or "the registration in the HIIS-VZ matches this recorder")
    return int(bool(lines))


def sheet(settings: Settings, catalog: MivCatalog, at_ms: int) -> str:
    """The registration as a page in Markdown, to copy into BfArM's portal."""
    servers = registration(settings, catalog).endpoints.items()
    endpoints = [(NAMES[kind], kind, address.fqdn, address.url) for kind, address in servers]
    mivs = [
        (miv.title, miv.valueset, f"{t.grace_seconds} s", f"{t.historic_days} d", f"{t.delay_seconds} s")
        for miv in catalog.mivs
        for t in (catalog.terms[miv.valueset],)
    ]
    return "\n".join(
        [
            f"# HIIS-VZ registration of {settings.product_name} {settings.product_version}",
            "",
            f"Manufacturer: {settings.manufacturer}. HIIS-ID: {settings.hiis_id or 'not assigned yet'}."
            f" Written {date_time(at_ms)}.",
            "",
            "## Endpoints",
            "",
            *_table(("server", "connection type", "FQDN", "base URL"), endpoints),
            "",
            "## Mandatory Interoperable Values",
            "",
            *_table(("MIV", "ValueSet", "Grace-Period", "Historic-Data-Period", "Delay-From-Real-Time"), mivs),
            "",
        ]
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [_row(head), _row(tuple("---" for _ in head)), *map(_row, rows)]


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
