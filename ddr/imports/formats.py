"""The table of the formats that `ddr import` reads: a reader, and how the device is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import tzinfo

from ddr.imports.clarity import clarity
from ddr.imports.export import Export
from ddr.imports.libreview import libreview


@dataclass(frozen=True)
class Format:
    """A kind of export: `read` takes its lines and the zone of its local times, and may raise ExportError."""

    read: Callable[[Iterable[str], tzinfo], Export]
    device: str
    manufacturer: str


FORMATS = {
    "clarity": Format(clarity, "Dexcom", "Dexcom, Inc."),
    "libreview": Format(libreview, "FreeStyle Libre", "Abbott"),
}
