"""In whose name a request acts for a patient, so that each record of the act says so: the trail, the proof of consent.

It is kept in a context variable that the patient's pages set for each request, so no act can be forgotten. Each act
uses it to check, in its own transaction, whether whoever acts still may.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from uuid import UUID

import asyncpg

from ddr.store.database.rights import Moment


@dataclass(frozen=True)
class Acting:
    """A representative: the patient of the login, the right by which it acts, and in which role (a relation).

    `name` is what the login calls the person it acts for; it is only for the login's own pages. `seen` is when the
    right was last found in force. It is None for an act that is repeated after a restore of the database: the right was
    in force then.
    """

    login_id: UUID
    representation_id: UUID
    role: str
    name: str = field(repr=False)
    seen: Moment | None = field(compare=False, repr=False)

    @property
    def detail(self) -> dict[str, str]:
        """The part of an entry's `detail` that says so; see `detail_of`."""
        return detail_of(self.role, self.representation_id)


def detail_of(role: str | None, representation_id: UUID | None) -> dict[str, str]:
    """The role of a representative and the right, as the trail keeps them; empty without a role."""
    return {"by": role, "representation": str(representation_id)} if role else {}


By = tuple[str | None, UUID | None]
"""Role and right of a representative, as of `acted`."""

ACTING: ContextVar[Acting | None] = ContextVar("ddr.acting", default=None)


def acted() -> By:
    """Role and right of whoever acts now; (None, None) for patients themselves and for everybody else."""
    acting = ACTING.get()
    return (acting.role, acting.representation_id) if acting else (None, None)


class RightOver(Exception):
    """Whoever acts for the patient no longer may: the right has ended since the page was requested."""


async def check_right(conn: asyncpg.Connection, patient_id: UUID, now_ms: int) -> None:
    """Within a transaction that acts at `now_ms`: make sure that whoever acts may, and that nobody ends the right
    before it is done.

    It locks the right before what ends with it (sessions, codes), in the same order as ending it does. Raises
    RightOver.
    """
    acting = ACTING.get()
    if acting is None or acting.seen is None:
        return
    if not await replace(acting.seen, now_ms=now_ms).stands(conn, patient_id, acting.representation_id):
        raise RightOver
