"""A code that leaves a ValueSet on the ZTS is no longer served, automatically; new codes wait for a person.

HDDT security-and-privacy.md: a code counts while it is in the ValueSet as the ZTS publishes it, and ValueSets may be
relied on for at most 24 hours (REG-007, REG-010). Each reading compares what is in force with what is published, so
that neither a fault nor an operator can leave more in force for longer; a reading that cannot compare them does not
count (ddr.registries.terminology).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable

import asyncpg

from ddr.miv.loader import load_catalog
from ddr.miv.model import Miv, MivError
from ddr.miv.versions import MivVersion, compared, concepts, without
from ddr.registries.zts import Published, newest
from ddr.settings import Settings
from ddr.store.audit.trail import Event, record
from ddr.store.registries import sources as store
from ddr.store.registries import terminology
from ddr.store.registries.terminology import SOURCE

log = logging.getLogger(__name__)


async def narrow(settings: Settings, pool: asyncpg.Pool, published: Iterable[Published], now_ms: int) -> list[str]:
    """Reduce each MIV in force to what the newest published version contains; returns where that is impossible, and
    why."""
    faults: list[str] = []
    in_force = await terminology.in_force(pool)
    for name, origin, version in await _authoritative(pool, published):
        miv = load_catalog(settings.miv_packages, settings.miv, in_force).by_name(name)
        if miv is None:
            continue
        changed, problem = compared(miv, version)
        if problem:
            faults.append(f"package {origin}: MIV {name} cannot be read: {problem}")
        if not changed.removed:
            continue
        try:
            await _put_in_force(settings, pool, miv, origin, version, now_ms)
        except MivError as error:
            log.error("miv.not_narrowed", extra={"miv": name, "version": version.version, "fault": str(error)})
            faults.append(f"package {origin}: MIV {name} cannot be narrowed: {error}")
        in_force = await terminology.in_force(pool)
    return faults


async def _authoritative(pool: asyncpg.Pool, published: Iterable[Published]) -> list[tuple[str, str, MivVersion]]:
    """MIV name, package and content of the newest packages, as far as they were fetched and could be read."""
    held = await terminology.held_by_packages(pool)
    kept = {(one.name, one.content.version): one.content for one in await terminology.stored_versions(pool)}
    return [
        (name, package.label, kept[name, version])
        for package in newest(published)
        for name, version in held.get(package.label, {}).items()
        if (name, version) in kept
    ]


async def _put_in_force(
    settings: Settings, pool: asyncpg.Pool, miv: Miv, origin: str, version: MivVersion, now_ms: int
) -> None:
    """The published version itself if it only removes codes, else the one in force without the removed codes."""
    changed, _ = compared(miv, version)
    others = await terminology.in_force(pool)
    new, content = _loaded(settings, others, miv.name, version), version
    if changed.added or new is None:
        present = others.get(miv.name) or await of_the_folder(settings, pool, miv)
        content = without(present, changed.removed, f"{miv.version}+{version.version}")
        new = _loaded(settings, others, miv.name, content)
        if new is None:
            raise MivError("no usable codes would remain")
        await _keep(pool, miv.name, content, origin)
    lost = [code for _, code in changed.removed]
    touched = await terminology.activate(
        pool, miv.name, content.version, miv.valueset, list(changed.removed), list(concepts(new)), now_ms
    )
    detail = {"miv": miv.name, "version": content.version, "published": origin, "lost": lost, "touched": touched}
    await store.record_event(pool, SOURCE, now_ms, "narrowed", detail)
    await record(pool, Event.MIV_NARROWED, now_ms, detail={"reason": "zts", "valueset": miv.valueset})
    log.warning("miv.narrowed", extra=detail)


def _loaded(settings: Settings, others: dict[str, MivVersion], name: str, version: MivVersion) -> Miv | None:
    """The MIV in this version, or None when it lacks something that an operator has to add."""
    try:
        return load_catalog(settings.miv_packages, settings.miv, {**others, name: version}).by_name(name)
    except MivError:
        return None


async def of_the_folder(settings: Settings, pool: asyncpg.Pool, miv: Miv) -> MivVersion:
    """`miv` as shipped with the program; stored from now on, so that it can be activated again."""
    folder = settings.miv_packages / miv.name / "package"
    valuesets = tuple(json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("ValueSet-*.json")))
    content = MivVersion(miv.version, valuesets)
    await _keep(pool, miv.name, content, terminology.FOLDER)
    return content


async def _keep(pool: asyncpg.Pool, name: str, content: MivVersion, origin: str) -> None:
    digest = hashlib.sha256(json.dumps(content.valuesets, sort_keys=True).encode()).hexdigest()
    await terminology.keep(pool, name, content, origin, digest, 0)
