"""The functions of the service, and the endpoints of each (OPS-008: affected functions and endpoints)."""

from __future__ import annotations

from collections.abc import Iterable

from ddr.http.core import Core
from ddr.miv.model import MivCatalog

PAIRING, TOKEN, DATA, SUMMARY, INGESTION = "pairing", "token", "data", "summary", "ingestion"
TOWARDS_DIGA = (PAIRING, TOKEN, DATA, SUMMARY)  # the service that HDDT means
NAMES = (*TOWARDS_DIGA, INGESTION)
RETIRED = "retired"  # the key of what is told once the recorder has left the HIIS-VZ: no disruption of the service
HOLDUP = "holdup-"  # and the name of a MIV: what a check finds of data that is late


def data_of(miv: str) -> str:
    """The name of the function "data of this MIV" (its package's name)."""
    return f"{DATA}:{miv}"


def all_functions(catalog: MivCatalog) -> list[str]:
    """Every function by the name it has in the feed, in order."""
    return [PAIRING, TOKEN, *(data_of(miv.name) for miv in catalog.mivs), SUMMARY, INGESTION]


def expanded(functions: Iterable[str], catalog: MivCatalog) -> list[str]:
    """`data` stands for the data of all MIVs; in the order of `all_functions`, unknown names left out."""
    wanted = set(functions)
    return [name for name in all_functions(catalog) if name in wanted or name.partition(":")[0] in wanted]


def endpoints(functions: Iterable[str], core: Core) -> list[str]:
    """The addresses that belong to these functions, each once."""
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
