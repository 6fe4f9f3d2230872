"""The access decision of the resource server: one pure function, default deny.

HDDT security-and-privacy.md (Authorization of the DiGA) and smart-scopes.md (Enforcement). The caller gathers the facts
of one request; ddr/http/tokens.py has already verified the token's signature, issuer, audience and times. Whatever is
not allowed here by name is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from ddr.scopes.diga import Diga
from ddr.scopes.parse import DEVICE, DEVICE_METRIC, Scopes, granted, scope_of


class Interaction(StrEnum):
    """What a DiGA may do; there is no writing interaction (SCO-004)."""

    READ = "read"
    VREAD = "vread"
    SEARCH = "search"
    OPERATION = "operation"


class Reason(StrEnum):
    """Why access is refused; recorded in the audit trail."""

    REGISTRY_STALE = "registry-stale"
    DIGA_UNKNOWN = "diga-unknown"
    DIGA_INACTIVE = "diga-inactive"
    TOKEN_FOREIGN = "token-foreign"  # noqa: S105 - a reason, not a secret
    PAIRING_ENDED = "pairing-ended"
    CONSENT_ENDED = "consent-ended"
    SCOPE_MISSING = "scope-missing"
    MIV_WITHDRAWN = "miv-withdrawn"

    @property
    def status(self) -> int:
        """The HTTP status of the answer: 503 try again later, 401 the token is of no use, 404 not within its scopes."""
        return _STATUS[self]


_STATUS = {
    Reason.REGISTRY_STALE: 503,
    Reason.DIGA_UNKNOWN: 401,
    Reason.DIGA_INACTIVE: 401,
    Reason.TOKEN_FOREIGN: 401,
    Reason.PAIRING_ENDED: 401,
    Reason.CONSENT_ENDED: 401,
    Reason.SCOPE_MISSING: 404,
    Reason.MIV_WITHDRAWN: 404,
}


@dataclass(frozen=True)
class Standing:
    """What the database says, as of this request, about the pairing and the grant that a token names."""

    patient_id: UUID
    client_id: str
    ended: bool  # unpaired, or the grant was revoked
    consents: Mapping[str, int]  # ValueSet canonical → end of the consent in ms; withdrawn ones are left out


@dataclass(frozen=True)
class Facts:
    """One request of a DiGA. `standing` is None when no pairing fits the token."""

    diga: Diga | None  # of the certificate of the connection
    registry_stale: bool
    token_client_id: str
    token_scope: str
    standing: Standing | None
    resource_type: str
    interaction: Interaction
    now_ms: int


@dataclass(frozen=True)
class Allowed:
    """Access to data of `patient_id` under these MIVs only; `rule` is the scope that opens it."""

    patient_id: UUID
    valuesets: tuple[str, ...]
    rule: str


@dataclass(frozen=True)
class Refused:
    """No access."""

    reason: Reason


def decide(facts: Facts) -> Allowed | Refused:
    """Certificate, DiGA, token, pairing, consent, scope, MIV: the first that fails refuses."""
    if reason := _connection(facts) or _pairing(facts):
        return Refused(reason)
    assert facts.diga is not None and facts.standing is not None  # the two checks have shown it
    asked = granted(facts.token_scope)
    scopes = asked.within(_consented(facts.standing, facts.now_ms))
    if asked.valuesets and not scopes.valuesets:
        return Refused(Reason.CONSENT_ENDED)
    if not _type_granted(scopes, facts.resource_type, facts.interaction):
        return Refused(Reason.SCOPE_MISSING)
    permitted = scopes.within(facts.diga.valuesets)
    if not permitted.valuesets:
        return Refused(Reason.MIV_WITHDRAWN)
    return Allowed(facts.standing.patient_id, permitted.valuesets, _rule(permitted, facts.resource_type))


def _connection(facts: Facts) -> Reason | None:
    if facts.registry_stale:
        return Reason.REGISTRY_STALE
    if facts.diga is None:
        return Reason.DIGA_UNKNOWN
    if not facts.diga.active:
        return Reason.DIGA_INACTIVE
    return None if facts.token_client_id == facts.diga.client_id else Reason.TOKEN_FOREIGN


def _pairing(facts: Facts) -> Reason | None:
    standing = facts.standing
    if standing is None or standing.ended or standing.client_id != facts.token_client_id:
        return Reason.PAIRING_ENDED
    return None


def _consented(standing: Standing, now_ms: int) -> frozenset[str]:
    return frozenset(url for url, until_ms in standing.consents.items() if until_ms > now_ms)


def _type_granted(scopes: Scopes, resource_type: str, interaction: Interaction) -> bool:
    """`.rs` grants every interaction of the enumeration; operations exist on Observation only."""
    return scopes.opens(resource_type) and (resource_type == "Observation" or interaction is not Interaction.OPERATION)


def _rule(scopes: Scopes, resource_type: str) -> str:
    anchor = " ".join(map(scope_of, scopes.valuesets))
    return {"Device": f"{DEVICE} {anchor}", "DeviceMetric": f"{DEVICE_METRIC} {anchor}"}.get(resource_type, anchor)
