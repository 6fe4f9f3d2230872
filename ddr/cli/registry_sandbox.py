"""`ddr registry-sandbox`: run a stand-in for BfArM's registries to try a recorder with; its data is a JSON file.

`serve` runs it; the other actions edit the file, which a running stand-in (also that of `ddr demo`) takes over at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from urllib.parse import urlsplit

from ddr.cli.actions import action, actions_of
from ddr.cli.arguments import number
from ddr.cli.errors import CommandError
from ddr.demo import certs
from ddr.demo.registry import DIGA_PATH, HIIS_PATH, ZTS_PATH, create_registry
from ddr.demo.registry_file import DataError, certificate, following, load, save
from ddr.demo.registry_state import FAULTS, PARTS, ListedDiga, Package, RegistryState
from ddr.demo.server import PortTaken, serving
from ddr.demo.stack import REGISTRY_PORT, REGISTRY_TOKEN
from ddr.drafts import alone_in
from ddr.reasons import in_words
from ddr.registries.archive import BadArchive, read_archive
from ddr.scopes.parse import is_canonical

HELP = "run a stand-in for BfArM's registries"
FILE = Path(".ddr/registry.json")
EXAMPLE = "https://gematik.de/fhir/hddt/ValueSet/hddt-miv-blood-glucose-measurement"
NUMBER_DIGITS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, default=FILE, metavar="FILE", help=f"file with the registries' data (default {FILE})"
    )
    actions = actions_of(parser)
    serve = action(actions, "serve", _serve, "serve the registries until Ctrl-C")
    serve.add_argument("--port", type=number(0, 65_535), default=REGISTRY_PORT)
    serve.add_argument("--token", default=REGISTRY_TOKEN, help="the bearer token that requests must carry")
    serve.add_argument(
        "--certs",
        type=Path,
        default=Path(".ddr/certs"),
        metavar="DIR",
        help="directory of the certificates, which are made on first use",
    )
    action(actions, "show", _shown, "list the registries' entries")
    fault = action(actions, "fault", _fault, "make a registry show a fault, or none")
    fault.add_argument("name", choices=["none", *FAULTS[1:]])
    fault.add_argument("--on", choices=PARTS, default="all", help="which registry")
    _arguments(action(actions, "retire", _retire, "end the listing of a DiGA"), "number")
    _arguments(action(actions, "relist", _relist, "list a retired DiGA again"), "number")
    _arguments(action(actions, "remove", _remove, "remove a DiGA"), "number")
    add = action(actions, "add", _add, "list a new DiGA")
    _arguments(add, "number", "name", "redirect", "cert", "mivs")
    rollover = action(actions, "rollover", _rollover, "replace the certificates of a DiGA")
    rollover.add_argument("--keep", action="store_true", help="keep the present certificates, too")
    _arguments(rollover, "number", "cert")
    _arguments(action(actions, "mivs", _mivs, "replace the MIVs of a DiGA"), "number", "mivs")
    _arguments(action(actions, "redirect", _redirect, "replace the redirect URI of a DiGA"), "number", "redirect")
    publish = action(actions, "publish", _publish, "publish a package in the ZTS")
    publish.add_argument("archive", type=Path, metavar="FILE.tgz")
    deprecate = action(actions, "deprecate", _deprecate, "mark a version of a package as deprecated")
    for argument in ("package", "version", "reason"):
        deprecate.add_argument(argument)
    register = action(actions, "register", _register, "register a recorder in the HIIS-VZ, as BfArM would")
    register.add_argument("bundle", type=Path, metavar="FILE.json", help="the Bundle that ddr hiis register wrote")
    register.add_argument("--hiis-id", help="the number that BfArM assigns")


def _arguments(parser: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        match name:
            case "number":
                parser.add_argument("number", metavar="DIGA-ID")
            case "cert":
                parser.add_argument("cert", type=Path, metavar="CERT.pem")
            case "mivs":
                parser.add_argument("mivs", nargs="*", metavar="VALUESET", help="canonical URLs")
            case _:
                parser.add_argument(name)


def run(args: argparse.Namespace) -> int:
    """Serve, show, or edit the file."""
    try:
        if args.does is _shown:
            print(_shown(_state(args.data)))
        elif args.does is _serve:
            asyncio.run(_serve(args, _edited(args.data, lambda state: "")[0]))
        else:
            done = _edited(args.data, lambda state: args.does(state, args))[1]
            print(f"{done}; a recorder notices when it reads the registry again (ddr registry refresh)")
    except (DataError, PortTaken, OSError, ValueError) as error:
        raise CommandError(in_words(error, named=True)) from None
    return 0


def _state(file: Path) -> RegistryState:
    return load(file) if file.exists() else RegistryState()


def _edited(file: Path, edit: Callable[[RegistryState], str]) -> tuple[RegistryState, str]:
    """The content of the file after `edit`, and the result of `edit`; nobody else edits it meanwhile."""
    with alone_in(file.parent, patient=True) if file.parent.is_dir() else nullcontext():
        state = _state(file)
        done = edit(state)
        file.parent.mkdir(parents=True, exist_ok=True)
        save(state, file)
    return state, done


async def _serve(args: argparse.Namespace, state: RegistryState) -> None:
    authority = certs.authority(args.certs)
    app = create_registry(state, args.token, following(state, args.data))
    async with serving(app, certs.server_certificate(args.certs, authority), args.port) as port:
        base = f"https://localhost:{port}"
        print(f'diga_vz_base = "{base}{DIGA_PATH}"\nhiis_vz_base = "{base}{HIIS_PATH}"\nzts_base = "{base}{ZTS_PATH}"')
        print(f'registry_token = "{args.token}"\nregistry_ca = "{authority.cert}"', flush=True)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


def _shown(state: RegistryState) -> str:
    lines = [f"fault  {state.fault or 'none'} on {state.fault_on}"]
    lines += [
        f"DiGA   {one.number} {one.name}: {one.status}, {len(one.certificates)} certificates, {len(one.mivs)} MIVs"
        for one in state.digas
    ]
    lines += [f"HIIS   {one['resourceType']} {one.get('id', '')}" for one in state.hiis]
    lines += [
        f"ZTS    {one.name} {one.version} {one.unlisted and 'deprecated: ' + one.unlisted}" for one in state.packages
    ]
    return "\n".join(line.rstrip() for line in lines)


def _one(state: RegistryState, number: str) -> ListedDiga:
    found = next((diga for diga in state.digas if diga.number == number), None)
    if found is None:
        raise CommandError(f"the stand-in has no DiGA {number}")
    return found


def _canonicals(mivs: list[str]) -> list[str]:
    """`mivs`, all of which must be canonical URLs: another name would be listed but never requested."""
    for url in mivs:
        if not is_canonical(url):
            raise CommandError(f"{url!r} is not a canonical URL of a ValueSet, such as {EXAMPLE}")
    return mivs


def _redirectable(text: str) -> str:
    """`text`, which must be an absolute URI."""
    parts = urlsplit(text)
    if not (parts.scheme == "https" and parts.hostname) and "." not in parts.scheme:
        raise CommandError(
            f"{text!r} is not a redirect URI: use https, or a scheme of the app's own that contains a dot"
        )
    return text


def _mivs_line(mivs: list[str]) -> str:
    return f"MIVs {' '.join(mivs) or 'none'}"


def _fault(state: RegistryState, args: argparse.Namespace) -> str:
    state.fault, state.fault_on = ("" if args.name == "none" else args.name), args.on
    return f"fault {args.name} on {args.on}"


def _retire(state: RegistryState, args: argparse.Namespace) -> str:
    _one(state, args.number).status = "retired"
    return f"DiGA {args.number} is retired"


def _relist(state: RegistryState, args: argparse.Namespace) -> str:
    _one(state, args.number).status = "active"
    return f"DiGA {args.number} is active"


def _remove(state: RegistryState, args: argparse.Namespace) -> str:
    state.digas.remove(_one(state, args.number))
    return f"DiGA {args.number} is no longer listed"


def _add(state: RegistryState, args: argparse.Namespace) -> str:
    if not (args.number.isascii() and args.number.isdigit() and len(args.number) == NUMBER_DIGITS):
        raise CommandError(f"{args.number!r} is not a DiGA-ID of five digits")
    if any(diga.number == args.number for diga in state.digas):
        raise CommandError(f"the stand-in already has DiGA {args.number}")
    mivs, redirect = _canonicals(args.mivs), _redirectable(args.redirect)
    der = _certificate(args.cert)
    state.digas.append(added := ListedDiga(args.number, args.name, f"{args.name} GmbH", redirect, mivs, [der]))
    return f"DiGA {args.number} is listed: client_id {added.client_id}, redirect {redirect}, {_mivs_line(mivs)}"


def _certificate(file: Path) -> bytes:
    try:
        return certificate(file.read_text("utf-8"), Path())
    except ValueError:
        raise CommandError(f"{file}: is not a PEM certificate") from None


def _rollover(state: RegistryState, args: argparse.Namespace) -> str:
    diga = _one(state, args.number)
    kept = diga.certificates if args.keep else []
    diga.certificates = [*kept, _certificate(args.cert)]
    return f"DiGA {args.number} has {len(diga.certificates)} certificates, {args.cert} among them"


def _mivs(state: RegistryState, args: argparse.Namespace) -> str:
    _one(state, args.number).mivs = _canonicals(args.mivs)
    return f"DiGA {args.number} has {_mivs_line(args.mivs)}"


def _redirect(state: RegistryState, args: argparse.Namespace) -> str:
    _one(state, args.number).redirect_uri = _redirectable(args.redirect)
    return f"DiGA {args.number} has redirect {args.redirect}"


def _publish(state: RegistryState, args: argparse.Namespace) -> str:
    try:
        found = read_archive(args.archive.read_bytes())
    except BadArchive as error:
        raise CommandError(f"{args.archive}: {error}") from None
    others = [one for one in state.packages if (one.name, one.version) != (found.name, found.version)]
    state.packages = [*others, Package(found.name, found.version, list(found.resources))]
    return f"package {found.name} {found.version} is published"


def _deprecate(state: RegistryState, args: argparse.Namespace) -> str:
    wanted = (args.package, args.version)
    found = next((one for one in state.packages if (one.name, one.version) == wanted), None)
    if found is None:
        raise CommandError(f"the stand-in has no package {args.package} {args.version}")
    found.unlisted = args.reason
    return f"package {args.package} {args.version} is deprecated: {args.reason}"


def _register(state: RegistryState, args: argparse.Namespace) -> str:
    try:
        resources = [entry["resource"] for entry in json.loads(args.bundle.read_text("utf-8"))["entry"]]
        definitions = [one for one in resources if one["resourceType"] == "DeviceDefinition"]
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"{args.bundle}: is not a Bundle of resources in JSON") from None
    for one in definitions if args.hiis_id else ():
        one["identifier"] = [{"system": "https://fhir.bfarm.de/Identifier/HiisId", "value": args.hiis_id}]
    state.hiis = resources
    return f"the HIIS-VZ has {len(resources)} resources of {args.bundle}"
