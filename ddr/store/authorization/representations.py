"""Representatives: by which right a login acts for other patients, from when and until when (docs/representatives.md).

A right is a row that begins once and ends once. Each request checks that it is in force: majority and `until_ms` take
effect at their instant, whenever the row is closed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta, tzinfo
from enum import StrEnum
from uuid import UUID, uuid4

import asyncpg

from ddr.series.days import midnight
from ddr.store.audit.acting import Acting, detail_of
from ddr.store.audit.trail import Event, record
from ddr.store.authorization import research
from ddr.store.database.pool import Connection
from ddr.store.database.rights import Moment, in_force
from ddr.store.database.stamps import KEEP_PATIENT


class Relation(StrEnum):
    """What a representative is to the patient."""

    PARENT = "parent"
    GUARDIAN = "guardian"
    CARER = "carer"


UNTIL_MAJORITY = frozenset({Relation.PARENT, Relation.GUARDIAN})


class SetBy(StrEnum):
    """Who set a representation up."""

    OPERATOR = "operator"
    PROVIDER = "provider"


class End(StrEnum):
    """Why a representation ended."""

    RELATION = "relation-ended"
    MAJORITY = "majority"
    DUE = "until-reached"
    REPRESENTATIVE_DELETED = "representative-deleted"


LONGEST_NAME = 80  # characters
FIRST_YEAR = 1900

_SET = {SetBy.OPERATOR: Event.REPRESENTATION_SET_BY_OPERATOR, SetBy.PROVIDER: Event.REPRESENTATION_SET_BY_PROVIDER}
_ENDED_BY = {
    SetBy.OPERATOR: Event.REPRESENTATION_ENDED_BY_OPERATOR,
    SetBy.PROVIDER: Event.REPRESENTATION_ENDED_BY_PROVIDER,
    None: Event.REPRESENTATION_ENDED_BY_SYSTEM,
}


@dataclass(frozen=True)
class Terms:
    """The terms of a representation. `born` is known only of those who are represented until they come of age."""

    relation: Relation
    name: str
    since_ms: int
    until_ms: int | None = None
    born: date | None = None


def stated_terms(
    relation: str, name: str, *, born: date | None, since: date | None, until: date | None, moment: Moment, zone: tzinfo
) -> Terms:
    """Terms as people state them: from the beginning of a day (None: now) to the end of one (None, 9999-12-31: never).

    The birthday is kept only where majority ends the right. Raises ValueError with what is wrong, without any personal
    data.
    """
    until = None if until == date.max else until
    if not all(day is None or FIRST_YEAR <= day.year < date.max.year for day in (born, since, until)):
        raise ValueError("a day is out of range")
    if born is not None and midnight(born, zone) > moment.now_ms:  # a mistyped year would give a right for decades
        raise ValueError("the birthday is in the future")
    if relation not in tuple(Relation):
        raise ValueError(f"the relation must be one of {', '.join(Relation)}")
    terms = Terms(
        relation=Relation(relation),
        name=name.strip(),
        since_ms=moment.now_ms if since is None else midnight(since, zone),
        until_ms=None if until is None else midnight(until + timedelta(days=1), zone),
        born=born,
    )
    return _checked(terms, moment)


def _checked(terms: Terms, moment: Moment) -> Terms:
    if not 0 < len(terms.name) <= LONGEST_NAME or not terms.name.isprintable():
        raise ValueError(f"the name must have 1 to {LONGEST_NAME} characters, all printable")
    if terms.until_ms is not None and terms.until_ms <= max(terms.since_ms, moment.now_ms):
        raise ValueError("the end must be in the future and after the beginning")
    if terms.relation not in UNTIL_MAJORITY:
        return replace(terms, born=None)
    if terms.born is None:
        raise ValueError(f"for a {terms.relation} the child's birthday is needed, because the right ends with majority")
    if terms.born <= moment.of_age_born_by:
        raise ValueError("a person with this birthday is of age")
    return terms


@dataclass(frozen=True)
class Representation:
    """A right that has not ended: who acts for whom."""

    representation_id: UUID
    patient_id: UUID
    representative_id: UUID
    set_by: SetBy
    terms: Terms

    def over(self, moment: Moment) -> End | None:
        """Why it is no longer in force although `end_due` has not closed it yet; None while it is in force."""
        until_ms, born = self.terms.until_ms, self.terms.born
        if until_ms is not None and until_ms <= moment.now_ms:
            return End.DUE
        return End.MAJORITY if born is not None and born <= moment.of_age_born_by else None

    def acting(self, moment: Moment) -> Acting:
        """Whoever acts by this right, which was in force at `moment`."""
        return Acting(self.representative_id, self.representation_id, self.terms.relation, self.terms.name, moment)


_COLUMNS = """r.representation_id, r.patient_id, r.representative_id, r.set_by, r.relation, r.name, r.since_ms,
       r.until_ms, r.born"""
_ABLE = "SELECT FROM patient p WHERE p.patient_id = r.patient_id AND p.disabled_ms IS NULL"
_CHOICES = f"""
SELECT {_COLUMNS} FROM representation r
 WHERE r.representative_id = $1 AND {in_force("r", "$2", "$3")} AND EXISTS ({_ABLE})
 ORDER BY r.name, r.created_ms"""  # noqa: S608 - texts of ours
_DUE = """
SELECT patient_id, representation_id, until_ms IS NOT NULL AND until_ms <= $1 AS over FROM representation
 WHERE ended_ms IS NULL AND (until_ms <= $1 OR born <= $2) LIMIT 10000"""


async def begin(
    conn: asyncpg.Connection, representative_id: UUID, patient_id: UUID, terms: Terms, set_by: SetBy, now_ms: int
) -> UUID | None:
    """Within a transaction: a right from now on. None when one of the two persons is gone or has such a right already.

    The locks make sure that the right does not outlive the deletion of one of them.
    """
    for one in sorted((representative_id, patient_id)):
        if await conn.fetchrow(KEEP_PATIENT, one) is None:
            return None
    representation_id: UUID | None = await conn.fetchval(
        """
        INSERT INTO representation (patient_id, representation_id, representative_id, relation, name, born, since_ms,
                                    until_ms, set_by, created_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (representative_id, patient_id) WHERE ended_ms IS NULL DO NOTHING RETURNING representation_id
        """,
        patient_id,
        uuid4(),
        representative_id,
        str(terms.relation),
        terms.name,
        terms.born,
        terms.since_ms,
        terms.until_ms,
        str(set_by),
        now_ms,
    )
    if representation_id is not None:
        detail = detail_of(terms.relation, representation_id)
        await record(conn, _SET[set_by], now_ms, patient_id=patient_id, detail=detail)
    return representation_id


async def end(
    conn: asyncpg.Connection, patient_id: UUID, representation_id: UUID, by: SetBy | None, reason: End, now_ms: int
) -> bool:
    """Within a transaction: end the right for good, and the representative's sessions with it. False when it had ended.

    Data that is no longer needed, the name and the birthday, is deleted at once. `by` is None for the recorder itself.
    """
    relation = await conn.fetchval(
        """
        UPDATE representation SET ended_ms = $3, end_reason = $4, name = '', born = NULL
         WHERE patient_id = $1 AND representation_id = $2 AND ended_ms IS NULL RETURNING relation
        """,
        patient_id,
        representation_id,
        now_ms,
        str(reason),
    )
    if relation is None:
        return False
    await conn.execute(
        "DELETE FROM browser_session WHERE patient_id = $1 AND representation_id = $2", patient_id, representation_id
    )
    await conn.execute(
        "DELETE FROM gateway_code WHERE patient_id = $1 AND representation_id = $2", patient_id, representation_id
    )
    detail = {**detail_of(relation, representation_id), "reason": str(reason)}
    await record(conn, _ENDED_BY[by], now_ms, patient_id=patient_id, detail=detail)
    await research.end_with_right(conn, patient_id, relation, representation_id, str(reason), now_ms)
    return True


async def choices(conn: Connection, login_id: UUID, moment: Moment) -> list[Representation]:
    """The persons for whom this login may act now, by name."""
    rows = await conn.fetch(_CHOICES, login_id, moment.now_ms, moment.of_age_born_by)
    return [_of(row) for row in rows]


async def open_of(conn: Connection, login_id: UUID) -> list[Representation]:
    """The rights of this login that have not ended, including those that begin later."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM representation r WHERE r.representative_id = $1 AND r.ended_ms IS NULL"  # noqa: S608
        " ORDER BY r.created_ms, r.representation_id",
        login_id,
    )
    return [_of(row) for row in rows]


async def of_patient(conn: Connection, patient_id: UUID) -> list[asyncpg.Record]:
    """Who acts or acted for this patient, oldest first: as what, from when, until when, and why it ended."""
    rows: list[asyncpg.Record] = await conn.fetch(
        """
        SELECT representation_id, representative_id, relation, since_ms, until_ms, born, set_by, ended_ms, end_reason
          FROM representation WHERE patient_id = $1 ORDER BY created_ms, representation_id
        """,
        patient_id,
    )
    return rows


async def rename(conn: Connection, patient_id: UUID, representation_id: UUID, name: str) -> None:
    """Change the name by which the login calls the patient."""
    await conn.execute(
        "UPDATE representation SET name = $3"
        " WHERE patient_id = $1 AND representation_id = $2 AND ended_ms IS NULL AND name <> $3",
        patient_id,
        representation_id,
        name,
    )


async def end_due(pool: asyncpg.Pool, moment: Moment) -> int:
    """Close the rights that are over by their last day or by majority. Returns how many."""
    ended = 0
    for row in await pool.fetch(_DUE, moment.now_ms, moment.of_age_born_by):
        reason = End.DUE if row["over"] else End.MAJORITY
        async with pool.acquire() as conn, conn.transaction():
            ended += await end(conn, row["patient_id"], row["representation_id"], None, reason, moment.now_ms)
    return ended


async def end_all_of(conn: asyncpg.Connection, login_id: UUID, now_ms: int) -> None:
    """Within a transaction that deletes this login's patient: end all rights by which it acts for others."""
    for one in sorted(await open_of(conn, login_id), key=lambda one: one.patient_id):
        await end(conn, one.patient_id, one.representation_id, None, End.REPRESENTATIVE_DELETED, now_ms)


def _of(row: asyncpg.Record) -> Representation:
    terms = Terms(Relation(row["relation"]), row["name"], row["since_ms"], row["until_ms"], row["born"])
    return Representation(
        row["representation_id"], row["patient_id"], row["representative_id"], SetBy(row["set_by"]), terms
    )
