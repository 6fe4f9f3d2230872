"""Names that patients understand for apps and kinds of data, which the system knows by identifiers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ddr.http.core import Core
from ddr.miv.model import Miv
from ddr.patient_pages.texts import text


def app_name(core: Core, client_id: str | None) -> str:
    """The DiGA's name in the registry, also if it has left it; its client_id when nothing else is known."""
    return (core.registry.name_of(client_id) or client_id) if client_id else ""


def title(miv: Miv, lang: str) -> str:
    """The title of the kind of data."""
    return miv.title_de if lang == "de" else miv.title


def title_of(core: Core, valueset: str, lang: str) -> str:
    """The title of the kind of data with this ValueSet; for one no longer served, a text that says so."""
    miv = core.catalog.by_valueset(valueset)
    return title(miv, lang) if miv else text(lang, "frame.former_kind")


def titles_of(core: Core, valuesets: Iterable[str], lang: str) -> str:
    """The titles of the kinds of data with these ValueSets, as a list in a sentence: `a, b and c`."""
    *most, last = dict.fromkeys(title_of(core, valueset, lang) for valueset in valuesets) or [""]
    return text(lang, "frame.and").join(filter(None, (", ".join(most), last)))


def measured_by(core: Core, device: Mapping[str, Any]) -> tuple[str, ...]:
    """The ValueSet canonicals of what a device measures: what it has measured, or what devices of its type can
    measure."""
    if device["measures"]:
        return tuple(device["measures"])
    return tuple(miv.valueset for miv in core.catalog.mivs if device["type_code"] in miv.device_types)
