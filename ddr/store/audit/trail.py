"""The audit trail: who did what to whose data; append only, without identifying data (HDDT security-and-privacy.md,
Transparency of Operations).

It is part of the store because an event is written in the transaction that makes it true.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from ddr.store.audit.acting import ACTING
from ddr.store.audit.journal import JOURNAL
from ddr.store.database.pool import Connection

NOBODY = UUID(int=0)  # no patient is known


class Event(StrEnum):
    """Tags of the trail, "source:subject:action". A tag that is in use is never renamed."""

    PAIRING_GRANTED = "patient:pairing:granted"
    PAIRING_DENIED = "patient:pairing:denied"
    PAIRING_REFUSED = "diga:pairing:refused"
    PAIRING_FAILED = "system:pairing:failed"
    PAIRING_ENDED_BY_DIGA = "diga:pairing:ended"
    PAIRING_ENDED_BY_PATIENT = "patient:pairing:ended"
    PAIRING_ENDED_BY_SYSTEM = "system:pairing:ended"
    CONSENT_WITHDRAWN = "patient:consent:withdrawn"
    CONSENT_ENDED_BY_SYSTEM = "system:consent:ended"
    DATA_DOWNLOADED = "patient:data:downloaded"
    DATA_DELETED = "patient:data:deleted"
    FILE_TAKEN = "patient:file:taken"
    FILE_TAKEN_BACK = "patient:file:taken-back"
    CALIBRATION_TAKEN_BACK = "gateway:calibration:taken-back"
    UNPAIRING_REFUSED = "diga:unpairing:refused"
    TOKEN_REFUSED = "diga:token:refused"  # noqa: S105 - a tag, not a secret
    CODE_REPLAYED = "diga:code:replayed"
    REFRESH_REUSED = "diga:refresh:reused"
    DATA_READ = "diga:data:read"
    DATA_REFUSED = "diga:data:refused"
    MIV_NARROWED = "system:miv:narrowed"
    SIGNING_KEY_ROTATED = "operator:signing-key:rotated"
    SIGNING_KEYS_REPLACED = "operator:signing-key:replaced"
    ENCRYPTION_KEY_ROTATED = "operator:encryption-key:rotated"
    GATEWAY_CONNECTED = "patient:gateway:connected"
    GATEWAY_DISCONNECTED = "patient:gateway:disconnected"
    GATEWAY_RENEWED = "gateway:token:renewed"
    GATEWAY_TOKEN_ISSUED = "operator:gateway-token:issued"  # noqa: S105 - a tag
    GATEWAY_TOKEN_RENEWED = "operator:gateway-token:renewed"  # noqa: S105 - a tag
    GATEWAY_TOKEN_REVOKED = "operator:gateway-token:revoked"  # noqa: S105 - a tag
    GATEWAY_CERTIFICATE_ADDED = "operator:gateway-certificate:added"
    GATEWAY_CERTIFICATE_REVOKED = "operator:gateway-certificate:revoked"
    ACCOUNT_DISABLED = "operator:account:disabled"
    ACCOUNT_ENABLED = "operator:account:enabled"
    PAIRING_ENDED_BY_OPERATOR = "operator:pairing:ended"
    DATA_DELETED_BY_OPERATOR = "operator:data:deleted"
    DATA_EXPORTED_BY_OPERATOR = "operator:data:exported"
    REPRESENTATION_SET_BY_OPERATOR = "operator:representation:set"
    REPRESENTATION_SET_BY_PROVIDER = "provider:representation:set"
    REPRESENTATION_ENDED_BY_OPERATOR = "operator:representation:ended"
    REPRESENTATION_ENDED_BY_PROVIDER = "provider:representation:ended"
    REPRESENTATION_ENDED_BY_SYSTEM = "system:representation:ended"
    REPRESENTATIVE_ENTERED = "representative:pages:opened"
    PAIRING_KEPT = "patient:pairing:kept"
    CREDENTIAL_FOUND = "system:credential:found"
    CREDENTIAL_ASSIGNED = "operator:credential:assigned"
    CREDENTIAL_ENDED = "system:credential:ended"
    RESEARCH_GIVEN = "patient:research:given"
    RESEARCH_WITHDRAWN = "patient:research:withdrawn"
    RESEARCH_ENDED_BY_SYSTEM = "system:research:ended"
    RESEARCH_EXPORTED = "operator:research:exported"
    RESTORE_DECLARED = "operator:restore:declared"
    REFRESH_RESTORED = "diga:refresh:restored"


# What ended with one of these events stays ended, even when the database is restored from a backup: they go into the
# journal.
ENDS = frozenset(
    {
        Event.PAIRING_ENDED_BY_DIGA,
        Event.PAIRING_ENDED_BY_PATIENT,
        Event.PAIRING_ENDED_BY_SYSTEM,
        Event.PAIRING_ENDED_BY_OPERATOR,
        Event.CONSENT_WITHDRAWN,
        Event.CONSENT_ENDED_BY_SYSTEM,
        Event.CODE_REPLAYED,
        Event.REFRESH_REUSED,
        Event.DATA_DELETED,
        Event.DATA_DELETED_BY_OPERATOR,
        Event.GATEWAY_DISCONNECTED,
        Event.GATEWAY_TOKEN_REVOKED,
        Event.GATEWAY_CERTIFICATE_REVOKED,
        Event.ACCOUNT_DISABLED,
        Event.ACCOUNT_ENABLED,
        Event.REPRESENTATION_ENDED_BY_OPERATOR,
        Event.REPRESENTATION_ENDED_BY_PROVIDER,
        Event.REPRESENTATION_ENDED_BY_SYSTEM,
        Event.RESEARCH_WITHDRAWN,
    }
)
UNANSWERED = "unanswered"  # the `reason` when a request was allowed and then failed
_BY_PATIENT = "patient:"  # which includes a representative


class NewEntry(NamedTuple):
    """An entry to be made; `detail` contains only our own words, never a name, a token or an address."""

    patient_id: UUID
    at_ms: int
    event: str
    client_id: str | None
    pairing_id: str | None
    detail: Mapping[str, Any]

    def unanswered(self) -> NewEntry:
        """The same for a request that was allowed but got no answer, because the database or the client went away."""
        if self.event != Event.DATA_READ:
            return self
        detail = {name: value for name, value in self.detail.items() if name != "valuesets"}
        return self._replace(event=str(Event.DATA_REFUSED), detail={**detail, "reason": UNANSWERED})


async def add(conn: Connection, entry: NewEntry) -> None:
    """Append one entry as it is."""
    await conn.execute(
        f"INSERT INTO audit ({', '.join(NewEntry._fields)}) VALUES ($1, $2, $3, $4, $5, $6)",  # noqa: S608 - our names
        *entry,
    )


async def record(
    conn: Connection,
    event: Event,
    now_ms: int,
    *,
    patient_id: UUID | None = None,
    client_id: str | None = None,
    pairing_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
    ends: Mapping[str, Any] | None = None,
) -> None:
    """Append one event; `detail` as for NewEntry.

    An event of ENDS goes into the journal first, with `ends`: what a restored database needs to find what ended. So
    does an event with `ends` when nothing ended at once, but something was given an earlier end. An act of a
    representative in the patient's place is marked as such (ddr.store.audit.acting).
    """
    if event.startswith(_BY_PATIENT) and (acting := ACTING.get()):
        detail = {**(detail or {}), **acting.detail}
    if event in ENDS or ends:
        await JOURNAL.note(
            {
                "event": str(event),
                "at_ms": now_ms,
                "patient": str(patient_id) if patient_id else None,
                "pairing": pairing_id,
                **(detail or {}),
                **(ends or {}),
            }
        )
    await add(conn, NewEntry(patient_id or NOBODY, now_ms, str(event), client_id, pairing_id, dict(detail or {})))
