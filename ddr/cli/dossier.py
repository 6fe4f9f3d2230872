"""`ddr dossier --out DIR`: the files for a quality system, about this installation and the release that it runs.

The installation: settings in force and registered values, the interface documents and the TLS of the running recorder,
which is examined at its external addresses. The release: its dossier.json (`--release`), which is beside the wheel and
signed with it. Status 1 when a row has neither evidence nor owner, the kit has found something, or a file belongs to
another recorder or version; the files are written nevertheless, and say which.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ddr import __version__
from ddr.cli.arguments import authority
from ddr.cli.errors import CommandError
from ddr.dossier import interfaces, reports, settings
from ddr.dossier.model import Chapter, Dossier, DossierError, read, write
from ddr.settings import Settings
from ddr.settings_sources import load_settings

HELP = "write the dossier for a quality management system"
TITLE = "Dossier of an installation of the HDDT Device Data Recorder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="directory for dossier.html, dossier.json and documents/"
    )
    parser.add_argument("--release", type=Path, metavar="FILE", help="dossier.json of the installed release")
    parser.add_argument("--kit", type=Path, metavar="FILE", help="report of `ddr conform --json` about this recorder")
    parser.add_argument("--bench", type=Path, metavar="FILE", help="figures of `make bench --json` on this machine")
    parser.add_argument("--ca", type=authority, default="", metavar="FILE", help="an extra CA to trust (development)")


def run(args: argparse.Namespace) -> int:
    """Write the files, and print what is missing."""
    try:
        chosen = load_settings()
        dossier, more, lacking = _installed(chosen, args.ca), list[Chapter](), list[str]()
        if args.kit:
            more.append(reports.of(args.kit, "checks", reports.kit))
            lacking += [*reports.of_another(args.kit, chosen.fhir_base), *reports.failures(more[0])]
        if args.bench:
            more.append(reports.of(args.bench, "figures", reports.performance))
        dossier = replace(dossier, chapters=[*dossier.chapters, *more], missing=[*dossier.missing, *lacking])
        if args.release:
            release = read(args.release)
            if (named := release.facts.get("software")) != (own := f"ddr {__version__}"):
                told = f"release: the dossier is of {named}, but {own} is installed"
                dossier = replace(dossier, missing=[*dossier.missing, told])
            dossier = replace(release.with_installation(dossier), title=TITLE)
    except DossierError as error:
        raise CommandError(str(error)) from None
    write(dossier, args.out)
    print(args.out / "dossier.html")
    for one in dossier.missing:
        print(f"ddr: missing: {one}", file=sys.stderr)
    return 1 if dossier.missing else 0


def _installed(chosen: Settings, ca: str) -> Dossier:
    seen = [interfaces.interfaces(chosen, ca), interfaces.listeners(chosen)]
    facts = {
        "installation": chosen.public_base_url,
        "software installed": __version__,
        "installation seen at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }
    return Dossier(
        TITLE,
        facts,
        [
            settings.in_force(chosen),
            settings.registered(chosen),
            *(chapter for one in seen for chapter in one.chapters),
        ],
        {name: document for one in seen for name, document in one.documents.items()},
        [line for one in seen for line in one.missing],
    )
