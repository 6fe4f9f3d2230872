"""Turns what the OpenID provider says at a login about represented persons into rights (docs/representatives.md)."""

from __future__ import annotations

import logging
from uuid import UUID
from zoneinfo import ZoneInfo

from ddr.http.core import Core
from ddr.identity.representing import Represented
from ddr.identity.tokens import Identity
from ddr.patient_pages.visitor import moment
from ddr.store.authorization.representations import Terms, stated_terms
from ddr.store.database.rights import Moment
from ddr.store.patients.relations import follow, patients_of

log = logging.getLogger(__name__)


async def follow_provider(core: Core, issuer: str, login_id: UUID, identity: Identity) -> None:
    """Let the login act for the persons that the provider lists. An invalid entry gives no right; the log says why."""
    now, found = moment(core), {}
    for entry in identity.represents or ():
        try:
            subject, terms = _read(entry, now, ZoneInfo(core.settings.time_zone))
            if subject in found:
                raise ValueError("an entry before it is of the same sub")
        except ValueError as error:
            log.warning("identity.represents_refused", extra={"reason": str(error)})
            continue
        if subject != identity.subject:
            found[subject] = terms
    await follow(core.pool, login_id, await patients_of(core.pool, issuer, found, now.now_ms), now)


def _read(entry: Represented | str, now: Moment, zone: ZoneInfo) -> tuple[str, Terms]:
    """Subject and terms of an entry. Raises ValueError that says what is wrong with it."""
    if isinstance(entry, str):
        raise ValueError(entry)
    days = {"born": entry.born, "since": entry.since, "until": entry.until}
    return entry.subject, stated_terms(entry.relation, entry.name, **days, moment=now, zone=zone)
