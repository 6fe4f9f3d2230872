"""capabilities: the CapabilityStatement, which is public (HDDT fhir-api-metadata.md; RS-004)."""

from __future__ import annotations

from hashlib import sha256

import orjson

from ddr import __version__
from ddr.diga_api.conditional import SUPPORT, has_tag
from ddr.diga_api.request import Request
from ddr.fhir.capability import Operation, Server, capability_statement
from ddr.fhir.cgm_summary import DEFINITION, OPERATION, PROFILE
from ddr.fhir.search.grammar import PARAMETERS
from ddr.http.asgi import Reply
from ddr.http.core import Core

INTERACTIONS = ("read", "vread", "search-type")
IN_FORCE = "2026-12-01"  # since when the interface has been as this version of the program describes it

SUMMARY = Operation(
    OPERATION,
    DEFINITION,
    "POST or GET [base]/Observation/$hddt-cgm-summary: the clinical metrics of continuous glucose measurement over"
    f" effectivePeriodStart to effectivePeriodEnd, as a Bundle with profile {PROFILE}; related=true adds the Devices.",
)


class Metadata:
    """Answers GET /metadata; the statement of a worker does not change while it runs."""

    def __init__(self, core: Core) -> None:
        settings = core.settings
        self._statement = capability_statement(
            core.catalog,
            Server(
                base=settings.fhir_base,
                issuer=settings.public_base_url,
                software_version=__version__,
                date=IN_FORCE,
                interactions=dict.fromkeys(PARAMETERS, INTERACTIONS),
                conditional_read=SUPPORT,
                operations={"Observation": [SUMMARY]} if core.catalog.with_operation(OPERATION) else {},
            ),
        )

        self._tag = sha256(orjson.dumps(self._statement)).hexdigest()[:32]  # it has no version number

    def answer(self, request: Request) -> Reply:
        """The CapabilityStatement in the requested representation, or 304 if the client has it (FHIR R4
        http.html#capabilities). Raises FhirError 406."""
        told = {"ETag": f'W/"{self._tag}"'}
        reply = request.reply(self._statement, 200, told)
        return request.unchanged(told) if has_tag(request.headers, self._tag) else reply
