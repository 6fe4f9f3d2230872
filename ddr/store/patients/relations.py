"""Follows what the OpenID provider says of a login: for whom it acts. What the operator set is not touched."""

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
    """The patients of these subjects; one who comes for the first time is made known."""
    found = {}
    for subject, terms in said.items():
        patient_id = await identities.find(pool, issuer, subject)
        patient_id = patient_id or await identities.patient_of(pool, issuer, subject, now_ms)
        if patient_id:
            found[patient_id] = terms
    return found


async def follow(pool: asyncpg.Pool, login_id: UUID, said: Mapping[UUID, Terms], moment: Moment) -> None:
    """From now on this login acts for the patients of `said` under these terms, and for no other by the provider.

    Other terms are another right: the former one ends, and its sessions with it. Who says the same as before writes
    nothing: rights are on all servers where patients are spread, and are written there by one transaction at a time.
    """
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(HOLD_PATIENT, login_id)  # one login of an account after the other
        there = {one.patient_id: one for one in await open_of(conn, login_id)}
        for patient_id in sorted({*there, *said}):
            await conn.execute(KEEP_PATIENT, patient_id)
        new = dict(said)
        for patient_id, one in there.items():
            terms = said.get(patient_id)
            if one.set_by is SetBy.PROVIDER and (terms is None or not _same(one, terms, moment.now_ms)):
                await end(conn, patient_id, one.representation_id, SetBy.PROVIDER, End.RELATION, moment.now_ms)
                continue
            new.pop(patient_id, None)  # the right stands
            if one.set_by is SetBy.PROVIDER and terms is not None and terms.name != one.terms.name:
                await rename(conn, patient_id, one.representation_id, terms.name)
        for patient_id, terms in new.items():
            await begin(conn, login_id, patient_id, terms, SetBy.PROVIDER, moment.now_ms)


def _same(one: Representation, terms: Terms, now_ms: int) -> bool:
    """True when nothing but the name is said otherwise; a beginning that is over says nothing any more."""
    now, then = terms, one.terms
    # what one worker wrote down as now is over for all
    begun = max(now.since_ms, then.since_ms) <= now_ms + SKEW_MS
    return (now.relation, now.born, now.until_ms) == (then.relation, then.born, then.until_ms) and (
        begun or now.since_ms == then.since_ms
    )
