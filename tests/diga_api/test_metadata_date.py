"""The date of the CapabilityStatement is that of its last change."""

from __future__ import annotations

import hashlib

import orjson

from ddr.diga_api.metadata import IN_FORCE, Metadata
from ddr.http.core import Core

# A digest of what the statement says about every recorder, and the date since which it says so.
DESCRIBED = {"2026-12-01": "b72b386c8c56801b"}
OWN = ("url", "date", "software", "description", "implementation")  # these differ between recorders or releases


async def test_the_date_is_that_of_the_last_change_of_what_is_described(core: Core) -> None:
    """FHIR R4 capabilitystatement-definitions.html#CapabilityStatement.date; a change needs another day here."""
    statement = {name: part for name, part in Metadata(core)._statement.items() if name not in OWN}
    text = orjson.dumps(statement, option=orjson.OPT_SORT_KEYS).decode()
    for own in (core.settings.fhir_base, core.settings.public_base_url):
        text = text.replace(own, "BASE")
    assert {IN_FORCE: hashlib.sha256(text.encode()).hexdigest()[:16]} == DESCRIBED
