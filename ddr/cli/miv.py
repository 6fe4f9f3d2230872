"""`ddr miv`: shows which versions of the MIV ValueSets are in force and which wait, and puts one in force.

New versions come from the ZTS (a running recorder asks it every hour) or from an archive. Codes that they add take
effect only after `ddr miv activate`; codes that they remove are out of force at once. Running workers follow within
seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import tomllib
from pathlib import Path

import asyncpg

from ddr.cli.actions import action, actions_of
from ddr.cli.errors import CommandError
from ddr.cli.operator import act, now_ms, shown_instant
from ddr.miv.loader import load_catalog
from ddr.miv.model import Miv, MivCatalog, MivError
from ddr.miv.versions import Difference, MivVersion, concepts, difference
from ddr.reasons import in_words
from ddr.registries.archive import MAX_ARCHIVE_BYTES, BadArchive, read_archive
from ddr.registries.narrowing import of_the_folder
from ddr.registries.terminology import SOURCE, Waiting, Zts, current_catalog, keep_all, waiting
from ddr.settings import Settings
from ddr.store.registries import terminology
from ddr.store.registries.sources import claim, read_source, request_reading

HELP = "manage the MIV ValueSets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    action(actions, "list", _list, "list the MIVs, their versions in force, and the other available versions")
    action(actions, "check", _check, "show what the waiting versions would change; status 1 if any waits")
    action(actions, "update", _update, "query the ZTS now, fetch new versions, then check")
    archive = action(actions, "import", _import, "import versions from a FHIR package archive, then check")
    archive.add_argument("file", type=Path, metavar="FILE.tgz")
    activate = action(actions, "activate", _activate, "put a version in force; it can be an earlier one")
    activate.add_argument("name", help="the name of the MIV package")
    activate.add_argument("version")
    activate.add_argument("--meta", type=Path, metavar="miv.toml", help="holds units and profiles for new codes")


def run(args: argparse.Namespace) -> int:
    return act(args)


async def _list(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    state = await read_source(pool, SOURCE)
    print(f"ZTS read {shown_instant(state.seen_ms)}{f'; fault: {state.fault}' if state.fault else ''}")
    others = await terminology.stored_versions(pool)
    for miv in (await current_catalog(settings, pool)).mivs:
        print(f"{miv.name} {miv.version} in force, {len(miv.codes)} codes, {miv.valueset}")
        for one in others:
            if one.name == miv.name and one.content.version != miv.version:
                print(f"  {one.content.version} from {one.origin}, imported {shown_instant(one.imported_ms)}")


async def _check(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> int:
    return await _print_waiting(pool, await current_catalog(settings, pool))


async def _update(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    catalog = await current_catalog(settings, pool)
    await claim(pool, SOURCE, now_ms(), 0)  # the row must exist; an extra reading does no harm
    try:
        await Zts(settings, pool, now_ms, catalog).read_now()
    except Exception:  # for responses that nobody anticipated: noted as a fault, which is printed below
        if not (await read_source(pool, SOURCE)).fault:
            raise
    state = await read_source(pool, SOURCE)
    await request_reading(pool, SOURCE)
    if state.fault:
        raise CommandError(f"ZTS: {state.fault}")
    print("\n".join(f"note: {note}" for note in state.notes) or "the ZTS has nothing new")
    await _print_waiting(pool, await current_catalog(settings, pool))  # removals are in force by now


async def _import(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    if args.file.stat().st_size > MAX_ARCHIVE_BYTES:
        raise CommandError(f"{args.file}: larger than {MAX_ARCHIVE_BYTES} bytes")
    packed = args.file.read_bytes()
    try:
        archive = read_archive(packed)
    except BadArchive as error:
        raise CommandError(f"{args.file}: {error}") from None
    catalog = await current_catalog(settings, pool)
    origin = f"{archive.name}#{archive.version} ({args.file.name})"
    async with pool.acquire() as connection, connection.transaction():
        sha256 = hashlib.sha256(packed).hexdigest()
        held, notes = await keep_all(connection, catalog, archive, origin, sha256, now_ms())
    if not held and not notes:
        raise CommandError(f"{args.file}: contains no ValueSet of a MIV")
    print("\n".join(notes) or f"{origin} imported")
    await _print_waiting(pool, catalog)


async def _activate(args: argparse.Namespace, settings: Settings, pool: asyncpg.Pool) -> None:
    catalog = await current_catalog(settings, pool)
    miv = catalog.by_name(args.name)
    if miv is None:
        raise CommandError(f"there is no MIV package {args.name}")
    own = load_catalog(settings.miv_packages, settings.miv).by_name(miv.name)
    assert own is not None
    await of_the_folder(settings, pool, own)
    found = {
        one.content.version: one.content for one in await terminology.stored_versions(pool) if one.name == miv.name
    }
    if args.version not in found:
        raise CommandError(f"MIV {miv.name}: version {args.version} is not available; see ddr miv list")
    version = found[args.version]
    if args.meta:
        version = MivVersion(version.version, version.valuesets, _meta(args.meta))
    new = _built(settings, await terminology.in_force(pool), miv.name, version)
    if args.meta and version.meta:
        await terminology.complete(pool, miv.name, version.version, version.meta)
    changed = difference(concepts(miv), concepts(new))
    moved = await terminology.activate(
        pool, miv.name, new.version, miv.valueset, list(changed.removed), list(concepts(new)), now_ms()
    )
    await request_reading(pool, SOURCE)
    print(f"MIV {miv.name} {new.version} is in force; {moved} series and measurements changed their MIV")


def _built(settings: Settings, others: dict[str, MivVersion], name: str, version: MivVersion) -> Miv:
    """The MIV in this version, checked with all others. Raises CommandError that says what to do."""
    try:
        miv = load_catalog(settings.miv_packages, settings.miv, {**others, name: version}).by_name(name)
    except MivError as error:
        raise CommandError(
            f"{error}; a new code needs its unit and profile: copy {settings.miv_packages / name / 'miv.toml'},"
            " add them, and pass the file with --meta"
        ) from None
    assert miv is not None
    return miv


def _meta(file: Path) -> str:
    try:
        text = file.read_text("utf-8")
        tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise CommandError(f"{file}: {in_words(error)}") from None
    return text


async def _print_waiting(pool: asyncpg.Pool, catalog: MivCatalog) -> int:
    """Print what each waiting version would change; 1 when there is one."""
    found = await waiting(pool, catalog)
    for one in found:
        print("\n".join(_meaning(one, await terminology.consents(pool, one.miv.valueset, now_ms()))))
    if not found:
        print("no version waits for activation")
    return int(bool(found))


def _meaning(one: Waiting, consents: int) -> list[str]:
    lines = [f"MIV {one.miv.name}: {one.miv.version} in force, {one.version.version} from {one.origin} waits"]
    if one.problem:
        return [*lines, f"  it cannot be used: {one.problem}"]
    lines += _codes(one.difference)
    if one.difference.added:
        lines.append(
            f"  {consents} consents in force were given for the present codes and will cover the new ones,"
            " too: inform the patients, or ask them to consent again"
        )
    if one.difference.removed:
        lines.append(f"  DiGA will no longer get values with removed codes; this narrows {consents} consents")
    if not one.difference:
        lines.append("  the codes are the same: nothing changes for patients and DiGA")
    return [*lines, f"  ddr miv activate {one.miv.name} {one.version.version}"]


def _codes(changed: Difference) -> list[str]:
    parts = (("added", changed.added), ("removed", changed.removed), ("renamed", changed.renamed))
    return [f"  {word:8}{system}|{code} {text}" for word, codes in parts for (system, code), text in codes.items()]
