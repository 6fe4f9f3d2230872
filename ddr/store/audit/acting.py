"""In whose name a request acts for a patient, so that each record of an act says it: the trail, the proof of consent.

It is found through a context variable that the patient's pages set for each request: no act can be forgotten.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import UUID


@dataclass(frozen=True)
class Acting:
    """A representative: the patient of the login, and by which right and in which role (a relation) it acts.

    `name` is what the login calls whom it acts for; it is for the login's own pages only.
    """

    login_id: UUID
    representation_id: UUID
    role: str
    name: str = field(repr=False)

    @property
    def detail(self) -> dict[str, str]:
        """What the trail keeps of it."""
        return detail_of(self.role, self.representation_id)


def detail_of(role: str | None, representation_id: UUID | None) -> dict[str, str]:
    """The role of a representative and the right, as the trail keeps them; without a role nothing."""
    return {"by": role, "representation": str(representation_id)} if role else {}


ACTING: ContextVar[Acting | None] = ContextVar("ddr.acting", default=None)


def acted() -> tuple[str | None, UUID | None]:
    """Role and right of whoever acts now; nothing for patients themselves and for everybody else."""
    acting = ACTING.get()
    return (acting.role, acting.representation_id) if acting else (None, None)
