"""The one way to check whether a representative may act for a patient now (docs/representatives.md).

A right is in force from its beginning until it has ended, its last day is over or the patient is of age, each by the
operator's calendar and whenever its row is closed, and only while the representative's account may be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, tzinfo
from typing import Self
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg

from ddr.scopes.majority import of_age_born_by
from ddr.settings import Settings
from ddr.store.database.able import able


@dataclass(frozen=True)
class Moment:
    """An instant, and when people come of age by the operator's calendar: what is needed to check a right."""

    now_ms: int
    majority_years: int
    zone: tzinfo

    @classmethod
    def at(cls, now_ms: int, settings: Settings) -> Self:
        """The moment `now_ms`, with the age of majority that the operator set."""
        return cls(now_ms, settings.majority_years, ZoneInfo(settings.time_zone))

    @property
    def of_age_born_by(self) -> date:
        """The latest birthday of persons who are of age now (ddr.scopes.majority)."""
        return of_age_born_by(self.now_ms, self.majority_years, self.zone)

    async def stands(self, conn: asyncpg.Connection, patient_id: UUID, representation_id: UUID) -> bool:
        """Within a transaction: whether the right is in force; nobody can end it before the transaction ends."""
        representative_id = await conn.fetchval(
            _STANDS, patient_id, representation_id, self.now_ms, self.of_age_born_by
        )
        return representative_id is not None and await able(conn, representative_id)


def in_force(row: str, now_ms: str, of_age_born_by: str) -> str:
    """SQL that is true for a representation `row` that is in force; names of parameters as in Moment."""
    return (
        f"{row}.ended_ms IS NULL AND {row}.since_ms <= {now_ms}"
        f" AND ({row}.until_ms IS NULL OR {row}.until_ms > {now_ms})"
        f" AND ({row}.born IS NULL OR {row}.born > {of_age_born_by})"
    )


_STANDS = f"""
SELECT r.representative_id FROM representation r
 WHERE r.patient_id = $1 AND r.representation_id = $2 AND {in_force("r", "$3", "$4")} FOR SHARE"""  # noqa: S608 - texts of ours
