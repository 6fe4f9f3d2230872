"""In whose name a request acts for a patient, so that each record of an act says it: the trail, the proof of consent.

It is found through a context variable that the patient's pages set for each request: no act can be forgotten. So each
act asks by it, in its own transaction, whether whoever acts may do so still.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from uuid import UUID

import asyncpg

from ddr.store.database.rights import Moment


@dataclass(frozen=True)
class Acting:
    """A representative: the patient of the login, and by which right and in which role (a relation) it acts.

    `name` is what the login calls whom it acts for; it is for the login's own pages only. `seen` is when the right was
    last found in force; None for what was done before the database was restored and is done again: it was in force.
    """

    login_id: UUID
    representation_id: UUID
    role: str
    name: str = field(repr=False)
    seen: Moment | None = field(compare=False, repr=False)

    @property
    def detail(self) -> dict[str, str]:
        """The part of an entry's `detail` that says it; see `detail_of`."""
        return detail_of(self.role, self.representation_id)


def detail_of(role: str | None, representation_id: UUID | None) -> dict[str, str]:
    """The role of a representative and the right, as the trail keeps them; without a role nothing."""
    return {"by": role, "representation": str(representation_id)} if role else {}


ACTING: ContextVar[Acting | None] = ContextVar("ddr.acting", default=None)


def acted() -> tuple[str | None, UUID | None]:
    """Role and right of whoever acts now; nothing for patients themselves and for everybody else."""
    acting = ACTING.get()
    return (acting.role, acting.representation_id) if acting else (None, None)


class RightOver(Exception):
    """Whoever acts for the patient may not any more: the right has ended since the page was asked for."""


async def check_right(conn: asyncpg.Connection, patient_id: UUID, now_ms: int) -> None:
    """Within a transaction that acts at `now_ms`: whoever acts may, and nobody ends that before it is done.

    It locks the right before what goes with its end (sessions, codes), as whoever ends it does. Raises RightOver.
    """
    acting = ACTING.get()
    if acting is None or acting.seen is None:
        return
    if not await replace(acting.seen, now_ms=now_ms).stands(conn, patient_id, acting.representation_id):
        raise RightOver
