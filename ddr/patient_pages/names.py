"""Names that patients understand for what the system knows by address: apps and kinds of data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddr.http.core import Core
from ddr.miv.model import Miv


def app_name(core: Core, client_id: str | None) -> str:
    """The DiGA's name in the registry, also of one that has left it; its client_id when nothing is known any more."""
    return (core.registry.name_of(client_id) or client_id) if client_id else ""


def title(miv: Miv, lang: str) -> str:
    """What the kind of data is called."""
    return miv.title_de if lang == "de" else miv.title


def title_of(core: Core, valueset: str, lang: str) -> str:
    """What the kind of data with this ValueSet is called; the canonical itself when it is no longer served."""
    miv = core.catalog.by_valueset(valueset)
    return title(miv, lang) if miv else valueset


def measured_by(core: Core, device: Mapping[str, Any]) -> tuple[str, ...]:
    """The ValueSet canonicals of what a device measures: what it has measured, or what devices of its type are for."""
    if device["measures"]:
        return tuple(device["measures"])
    return tuple(miv.valueset for miv in core.catalog.mivs if device["type_code"] in miv.device_types)
