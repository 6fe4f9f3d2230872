"""A patient's copy as files (GDPR Article 15), for `ddr patient export`, with the content of the patient's own
pages."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from ddr.app import build_core
from ddr.cli.errors import CommandError
from ddr.cli.operator import now_ms, reading
from ddr.drafts import alone_in, naming
from ddr.http.core import Core
from ddr.patient_pages.download import whole_copy
from ddr.registries.diga_vz import DigaVz
from ddr.registries.terminology import Zts, current_catalog
from ddr.registries.trust import Trust
from ddr.settings import Settings
from ddr.store.audit.trail import Event, record
from ddr.store.database.faults import ChangedMeanwhile
from ddr.store.database.pool import Pool

PROGRESS_BYTES = 10_000_000


async def write_copy(
    settings: Settings, pool: Pool, patient_id: UUID, folder: Path, lang: str
) -> AsyncIterator[tuple[str, int]]:
    """Write the files into `folder`, readable by their owner only; name and bytes of each when all are complete.

    They get their final names when all are complete, so that no file is left after a failure. Existing files are not
    overwritten: raises CommandError when one of the names is taken. The export is recorded; the patient sees it.
    """
    core = await _core(settings, pool)
    _make(folder)
    parts: dict[Path, Path] = {}
    with alone_in(folder):  # otherwise another patient's data could get into these files
        try:
            async with reading(settings, pool) as read:
                files = await whole_copy(replace(core, pool=read), patient_id, lang)
                _prepare(folder, files)
                await record(pool, Event.DATA_EXPORTED_BY_OPERATOR, now_ms(), patient_id=patient_id)
                for name, content in files.items():
                    part = folder / f"{name}.part"
                    parts[part] = folder / name
                    await _write(part, content)
            for part, file in parts.items():
                part.rename(file)
            for file in parts.values():
                yield file.name, file.stat().st_size
        except ChangedMeanwhile:
            raise CommandError(
                "the patient's data was changed or deleted in the meantime; nothing was written"
            ) from None
        finally:
            for part in parts:
                part.unlink(missing_ok=True)


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _prepare(folder: Path, names: Iterable[str]) -> None:
    if there := [name for name in names if (folder / name).exists()]:
        raise CommandError(f"{folder / there[0]} already exists; name another directory")


async def _write(part: Path, content: AsyncIterator[bytes]) -> None:
    size, said = 0, 0
    with naming(part), os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        async for piece in content:
            file.write(piece)
            size += len(piece)
            if size - said >= PROGRESS_BYTES:
                said = size
                print(f"{part.stem}: {size // 1_000_000} MB so far", file=sys.stderr, flush=True)


async def _core(settings: Settings, pool: Pool) -> Core:
    """A core for the pages without a recorder; names of DiGA are from the recorders' last reading."""
    catalog = await current_catalog(settings, pool)
    diga_vz = DigaVz(settings, pool, now_ms)
    await diga_vz.follow()
    zts = Zts(settings, pool, now_ms, catalog)
    return await build_core(settings, pool, Trust(diga_vz, zts), catalog, now_ms)
