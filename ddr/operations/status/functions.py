"""The functions of the service, and the endpoints of each (OPS-008: affected functions and endpoints)."""

from __future__ import annotations

from collections.abc import Iterable

from ddr.http.core import Core
from ddr.miv.model import MivCatalog

PAIRING, TOKEN, DATA, SUMMARY, INGESTION = "pairing", "token", "data", "summary", "ingestion"
TOWARDS_DIGA = (PAIRING, TOKEN, DATA, SUMMARY)  # the service in HDDT's sense
NAMES = (*TOWARDS_DIGA, INGESTION)
RETIRED = "retired"  # the key of the trouble after the recorder has left the HIIS-VZ: not a disruption of the service
HOLDUP = "holdup-"  # followed by the name of a MIV: the key of the finding that its data is late


def data_of(miv: str) -> str:
    """The name of the function "data of this MIV" (its package's name)."""
    return f"{DATA}:{miv}"


def all_functions(catalog: MivCatalog) -> list[str]:
    """The names of all functions in the feed, in order."""
    return [PAIRING, TOKEN, *(data_of(miv.name) for miv in catalog.mivs), SUMMARY, INGESTION]


def expanded(functions: Iterable[str], catalog: MivCatalog) -> list[str]:
    """These functions in the order of `all_functions`, without unknown names; `data` stands for the data of all
    MIVs."""
    wanted = set(functions)
    return [name for name in all_functions(catalog) if name in wanted or name.partition(":")[0] in wanted]


def endpoints(functions: Iterable[str], core: Core) -> list[str]:
    """The addresses of these functions, without duplicates."""
    settings = core.settings
    fhir, diga, public = settings.fhir_base, settings.diga_base_url, settings.public_base_url
    of = {
        PAIRING: (f"{diga}/oauth/par", f"{public}/oauth/authorize"),
        TOKEN: (f"{diga}/oauth/token", f"{diga}/oauth/revoke"),
        DATA: (f"{fhir}/Observation", f"{fhir}/Device", f"{fhir}/DeviceMetric"),
        SUMMARY: (f"{fhir}/Observation/$hddt-cgm-summary",),
        INGESTION: (f"{settings.gateway_base_url}/gateway/v1",),
    }
    return list(dict.fromkeys(url for name in functions for url in of[name.partition(":")[0]]))
