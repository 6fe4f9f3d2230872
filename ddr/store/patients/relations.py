"""Follows what the OpenID provider says about a login: for whom it acts. What the operator set stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import asyncpg

from ddr.store.authorization.representations import End, Representation, SetBy, Terms, begin, end, open_of, rename
from ddr.store.database.clock import SKEW_MS
from ddr.store.database.rights import Moment
from ddr.store.database.stamps import HOLD_PATIENT, KEEP_PATIENT
from ddr.store.patients import identities


async def patients_of(pool: asyncpg.Pool, issuer: str, said: Mapping[str, Terms], now_ms: int) -> dict[UUID, Terms]:
    """The patients of these subjects; patients who come for the first time are created."""
    found = {}
    for subject, terms in said.items():
        patient_id = await identities.find(pool, issuer, subject)
        patient_id = patient_id or await identities.patient_of(pool, issuer, subject, now_ms)
        if patient_id:
            found[patient_id] = terms
    return found


async def follow(pool: asyncpg.Pool, login_id: UUID, said: Mapping[UUID, Terms], moment: Moment) -> None:
    """From now on this login acts for the patients in `said` under these terms, and for no other by the provider.

    Other terms are another right: the former one ends, together with its sessions. When nothing has changed, nothing is
    written: where patients are spread, rights are on all servers, and are written there by one transaction at a time.
    """
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(HOLD_PATIENT, login_id)  # logins of an account one after another
        there = {one.patient_id: one for one in await open_of(conn, login_id)}
        for patient_id in sorted({*there, *said}):
            await conn.execute(KEEP_PATIENT, patient_id)
        new = dict(said)
        for patient_id, one in there.items():
            terms = said.get(patient_id)
            if over := one.over(moment):  # whatever is said of it now
                await end(conn, patient_id, one.representation_id, None, over, moment.now_ms)
                continue
            if one.set_by is SetBy.PROVIDER and (terms is None or not _same(one, terms, moment.now_ms)):
                await end(conn, patient_id, one.representation_id, SetBy.PROVIDER, End.RELATION, moment.now_ms)
                continue
            new.pop(patient_id, None)  # the right stays in force
            if one.set_by is SetBy.PROVIDER and terms is not None and terms.name != one.terms.name:
                await rename(conn, patient_id, one.representation_id, terms.name)
        for patient_id, terms in new.items():
            await begin(conn, login_id, patient_id, terms, SetBy.PROVIDER, moment.now_ms)


def _same(one: Representation, terms: Terms, now_ms: int) -> bool:
    """True when only the name differs; a beginning that has passed makes no difference any more."""
    now, then = terms, one.terms
    # What one worker stored as "now" has passed for all.
    begun = max(now.since_ms, then.since_ms) <= now_ms + SKEW_MS
    return (now.relation, now.born, now.until_ms) == (then.relation, then.born, then.until_ms) and (
        begun or now.since_ms == then.since_ms
    )
