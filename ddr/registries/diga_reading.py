"""One reading of the DiGA-VZ: three searches, joined and checked as a whole (BfArM guide, DiGA use cases); and a direct
question about each DiGA that a reading does not mention (HDDT pairing.md, Unpairing by the System)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from ddr.registries.errors import RegistryFault
from ddr.registries.fhir_search import Known, search_all
from ddr.registries.health_app import (
    CATALOG_ENTRY,
    CLIENT_ID,
    DIGA_ID,
    HEALTH_APP,
    MANUFACTURER,
    Found,
    catalog_states,
    diga_id,
    is_retired,
    read_entries,
)
from ddr.registries.losses import Evidence

MOST_QUESTIONS = 20  # in one reading; the others are asked about once these are listed again, or have ended
ASKING_SECONDS = 30.0  # for all of them: if the registry does not answer them, its lists still count
NAMES_SECONDS = 20.0  # for the names of manufacturers


@dataclass(frozen=True)
class Reading:
    """The result of a reading, and by client id the registry's answers about DiGA that it did not mention."""

    found: Found
    answers: Mapping[str, Evidence] = field(default_factory=dict)


async def read_diga_vz(http: httpx.AsyncClient, base: str, known: Known, expected: Collection[str]) -> Reading:
    """All entries with trust attributes, and notes on what could not be read. Raises RegistryFault.

    `known` keeps responses for conditional requests next time. Client ids in `expected` that are not mentioned are
    asked about one by one. An empty list counts as a fault of the registry.
    """
    apps = await search_all(http, f"{base}/DeviceDefinition", {"_profile": HEALTH_APP}, known)
    catalog = await search_all(http, f"{base}/CatalogEntry", {"_profile": CATALOG_ENTRY}, known)
    if not apps or not catalog:
        raise RegistryFault("lists no DiGA")
    found = await asyncio.to_thread(read_entries, apps, catalog, await _manufacturers(http, base, known))
    states = catalog_states(catalog)
    missing = sorted(set(expected) - {entry.client_id for entry in found.entries} - found.listed)
    return Reading(found, await _answers(http, base, missing, states))


async def _answers(
    http: httpx.AsyncClient, base: str, missing: Sequence[str], states: Mapping[str, set[str]]
) -> dict[str, Evidence]:
    """The registry's answer about each of these within the time limit; those that do not get their turn have none."""
    asked, others = missing[:MOST_QUESTIONS], missing[MOST_QUESTIONS:]
    answers = dict.fromkeys(asked, Evidence.UNANSWERED) | dict.fromkeys(others, Evidence.NOT_ASKED)
    with suppress(TimeoutError):
        async with asyncio.timeout(ASKING_SECONDS):
            for client_id in asked:
                answers[client_id] = await _ask(http, base, client_id, states)
    return answers


async def _ask(http: httpx.AsyncClient, base: str, client_id: str, states: Mapping[str, set[str]]) -> Evidence:
    """The registry's answer about one DiGA, requested by its DiGA-ID, which is part of its client id."""
    match = CLIENT_ID.fullmatch(client_id)
    if match is None:
        return Evidence.UNANSWERED
    question = {"_profile": HEALTH_APP, "identifier": f"{DIGA_ID}|{match[1]}"}
    try:
        apps = await search_all(http, f"{base}/DeviceDefinition", question)
    except RegistryFault as error:
        return Evidence.UNKNOWN if error.status in (404, 410) else Evidence.UNANSWERED
    own = [str(app.get("id")) for app in apps if diga_id(app) == match[1]]
    if not own:  # an answer about others does not count
        return Evidence.UNANSWERED if apps else Evidence.UNKNOWN
    said = set[str]().union(*(states.get(name, set()) for name in own))
    return Evidence.RETIRED if is_retired(said) else Evidence.LISTED


async def _manufacturers(http: httpx.AsyncClient, base: str, known: Known) -> list[dict[str, object]]:
    """Names for the consent page; if the registry does not answer this search, only the names are missing."""
    try:
        async with asyncio.timeout(NAMES_SECONDS):
            return await search_all(http, f"{base}/Organization", {"_profile": MANUFACTURER}, known)
    except (RegistryFault, TimeoutError):
        return []
