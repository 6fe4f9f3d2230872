"""What an allowed request sees: kinds of data with their terms, and since when each is visible to the pairing.

Whether the request is allowed is decided in ddr.diga_api.access.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ddr.http.core import Core
from ddr.miv.model import Miv, MivCatalog
from ddr.scopes.decision import Allowed
from ddr.scopes.parse import Scopes
from ddr.store.authorization.access import Admission
from ddr.store.authorization.openings import TYPES, Opened, Served, due, open_up
from ddr.store.search.view import OPEN, Opening, Term, View


def mivs_of(catalog: MivCatalog, valuesets: Collection[str]) -> tuple[Miv, ...]:
    """The MIVs with these ValueSets."""
    return tuple(miv for miv in catalog.mivs if miv.valueset in valuesets)


async def openings_of(core: Core, decision: Allowed, scopes: Scopes, admission: Admission) -> Mapping[str, Opened]:
    """Since when this pairing sees what (by ValueSet, and for Device and DeviceMetric); anything new is noted first."""
    terms = core.catalog.terms
    mivs = mivs_of(core.catalog, decision.valuesets)
    seen = {one.valueset: Served(terms[one.valueset].historic_days, _delay_ms(core.catalog, one)) for one in mivs}
    seen |= {kind: Served() for kind, sees in zip(TYPES, (scopes.device, scopes.device_metric), strict=True) if sees}
    if not due(admission.openings, seen):
        return admission.openings
    return await open_up(core.pool, decision.patient_id, admission.pairing_no, seen, core.steered_ms)


def _delay_ms(catalog: MivCatalog, miv: Miv) -> int | None:
    """The time after which a value that has not arrived is shown as missing; None without a series."""
    return catalog.delay_ms(miv.valueset) if miv.continuous else None


def view_of(catalog: MivCatalog, decision: Allowed, openings: Mapping[str, Opened], now_ms: int) -> View:
    """What can be searched and read: the patient's data of the allowed MIVs within their historic periods."""
    visible = [
        Term(
            miv.valueset,
            miv.continuous,
            catalog.floor_ms(miv.valueset, now_ms),
            catalog.delay_ms(miv.valueset),
            _opening(openings.get(miv.valueset)),
        )
        for miv in mivs_of(catalog, decision.valuesets)
    ]
    opened_ms = max((opened.newest_ms for opened in openings.values()), default=0)
    return View(decision.patient_id, visible, now_ms, opened_ms)


def _opening(opened: Opened | None) -> Opening:
    if opened is None or not opened.newest_ms:
        return OPEN
    return Opening(opened.opened_ms or 0, opened.older_ms, opened.older_opened_ms)
