"""One reading of the DiGA-VZ: three searches, joined and checked as a whole (BfArM guide, DiGA use cases)."""

from __future__ import annotations

import httpx

from ddr.registries.errors import RegistryFault
from ddr.registries.fhir_search import Known, search_all
from ddr.registries.health_app import CATALOG_ENTRY, HEALTH_APP, MANUFACTURER, Entry, read_entries


async def read_diga_vz(http: httpx.AsyncClient, base: str, known: Known | None = None) -> tuple[list[Entry], list[str]]:
    """All entries with trust attributes, and notes on what could not be read. Raises RegistryFault.

    `known` keeps what may be asked for conditionally next time.
    An empty list is taken for a fault of the registry, because believing it would end every pairing.
    """
    apps = await search_all(http, f"{base}/DeviceDefinition", {"_profile": HEALTH_APP}, known)
    catalog = await search_all(http, f"{base}/CatalogEntry", {"_profile": CATALOG_ENTRY}, known)
    if not apps or not catalog:
        raise RegistryFault("lists no DiGA at all")
    return read_entries(apps, catalog, await _manufacturers(http, base, known))


async def _manufacturers(http: httpx.AsyncClient, base: str, known: Known | None) -> list[dict[str, object]]:
    """Names for the consent page; a registry that does not answer this search costs the names only."""
    try:
        return await search_all(http, f"{base}/Organization", {"_profile": MANUFACTURER}, known)
    except RegistryFault:
        return []
