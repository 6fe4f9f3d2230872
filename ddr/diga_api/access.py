"""The one place where a DiGA's request is allowed or refused: every interaction passes it, and nothing else decides.

HDDT security-and-privacy.md, smart-scopes.md. First come the checks that need no database (certificate, registry,
token, scopes), then one statement that asks the database and claims the Grace-Period; concurrent requests share it. The
entry of the audit trail is durable before the answer leaves. Whatever fails is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ddr.call import refused
from ddr.diga_api.visible import mivs_of, openings_of, view_of
from ddr.fhir.outcome import FhirError, not_known, throttled, unauthorized, unavailable
from ddr.fhir.versions import Restore
from ddr.http.asgi import Reply, Scope, header_values
from ddr.http.caller import presented
from ddr.http.core import Core
from ddr.http.exchange import audited, concerns
from ddr.http.tokens import Claims, InvalidToken
from ddr.miv.model import Miv
from ddr.ratelimit import GRACE_PERIOD, limited, lowercase
from ddr.registries import follower
from ddr.remembering import Newest
from ddr.scopes.decision import Allowed, Facts, Interaction, Reason, Refused, Standing, decide
from ddr.scopes.diga import Diga
from ddr.scopes.parse import Scopes, granted
from ddr.store.audit.trail import NOBODY, Event, NewEntry
from ddr.store.authorization.access import Admission, Ahead, Permit, admit
from ddr.store.authorization.access import Request as AdmissionRequest
from ddr.store.authorization.admissions import admit_together
from ddr.store.authorization.grace import Claim
from ddr.store.authorization.openings import Opened
from ddr.store.authorization.tokens import patient_of
from ddr.store.database.each_there import Statement
from ddr.store.database.ids import Kind
from ddr.store.database.spreading import is_spread
from ddr.store.search.view import View

SEEN = 10_000  # pairings whose last view is remembered; it is only used to guess what to ask for, never to decide

Foresee = Callable[[View], Statement | None]
"""The statement that an interaction will ask of what a DiGA may see; None when it will ask nothing."""

# Texts for a token that is valid in itself; RS-022 has those for invalid tokens.
_TEXTS = {
    Reason.DIGA_UNKNOWN: "The client certificate belongs to no DiGA of the DiGA directory",
    Reason.DIGA_INACTIVE: "The DiGA is not active in the DiGA directory",
    Reason.TOKEN_FOREIGN: "The access token was issued to another client",
    Reason.PAIRING_ENDED: "The access token was revoked",
    Reason.CONSENT_ENDED: "The access token was revoked",
}


@dataclass(frozen=True)
class Candidate:
    """A request that only the database can still refuse."""

    facts: Facts
    token: Claims
    mivs: tuple[Miv, ...]  # permitted by token and registry
    path: str


@dataclass(frozen=True)
class Access:
    """An allowed request: what it sees, and in whose name."""

    view: View
    scopes: Scopes  # those of the token that are still consented to and permitted
    pairing_id: str
    client_id: str
    claim: Claim | None = None  # of the Grace-Periods that begin with the answer
    restores: tuple[Restore, ...] = ()
    fetched: Sequence[Mapping[str, Any]] | None = None  # rows for the statement of `foresee`, if it fits
    entry: NewEntry | None = None  # of the audit trail; until the answer leaves, it can be made more precise


class Gate:
    """Decides about the requests of one worker."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._seen: Newest[tuple[object, ...], tuple[Allowed, Mapping[str, Opened]]] = Newest(SEEN)
        self._verifier = core.token_verifier()

    async def identify(
        self, scope: Scope, path: str, resource_type: str, interaction: Interaction, only: str | None = None
    ) -> Candidate:
        """Every check that needs no database. `only` is the one MIV of the request, which is refused without it.

        Raises FhirError 401, 404 or 503, after recording it.
        """
        now_ms = self._core.clock()
        diga = presented(self._core, scope)
        try:
            token = self._verified(scope, now_ms)
        except InvalidToken as error:
            refused("token-invalid")
            await self._record_refusal(diga, None, "token-invalid", now_ms)
            raise unauthorized(error.description or None) from None
        if diga is not None and diga.client_id == token.client_id:
            concerns(token.pairing_id)
        facts = Facts(
            diga=diga,
            registry_stale=self._core.registry.stale(now_ms),
            token_client_id=token.client_id,
            token_scope=token.scope,
            standing=_best_case(token),
            resource_type=resource_type,
            interaction=interaction,
            now_ms=now_ms,
        )
        decision = _narrowed(decide(facts), None if only is None else (only,))
        if isinstance(decision, Refused):
            await self._record_refusal(diga, token.pairing_id, decision.reason, now_ms)
            raise _refusal(decision, path)
        return Candidate(facts, token, mivs_of(self._core.catalog, decision.valuesets), path)

    async def admit(
        self,
        candidate: Candidate,
        asked: Collection[str] | None = None,
        foresee: Foresee | None = None,
        *,
        counts: bool = True,
    ) -> Access:
        """Ask the database; `asked` are the MIVs that the request asks for, None when it names none.

        The request counts towards the Grace-Periods of these MIVs, if it `counts` at all: reads and further pages do
        not.

        Where patients are spread over servers, the statement of `foresee`, made for the pairing's last view, is sent
        along to save a round trip. Its rows are used (`Access.fetched`) if the view is still the same.

        Raises FhirError 401, 404, or 429 when one of these periods still runs.
        """
        terms = self._core.catalog.terms
        counted = [url for url in asked or () if counts and terms[url].grace_seconds]  # 0 switches it off
        request = self._admission_request(candidate, asked, counted)
        foreseen, ahead = self._foreseen(candidate, foresee) or (None, None)
        if ahead is None:
            admission = await admit_together(self._core.pool, request, self._forsaken)
        else:
            admission = await admit(self._core.pool, request, ahead)
        await audited(self._core.pool, admission.entry)
        claim = self._claim(admission, candidate.facts.now_ms)
        try:
            access = await self._allow(candidate, counted, admission, claim)
            if ahead is not None and access.view == foreseen:
                return replace(access, fetched=ahead.rows)
            return access
        except BaseException:  # what fails before the answer does not count either
            await self._take_back(claim)
            raise

    def _foreseen(self, candidate: Candidate, foresee: Foresee | None) -> tuple[View, Ahead] | None:
        """What the request will see if nothing has changed since last time, and the statement that it then asks."""
        if foresee is None or (last := self._seen.get(_who(candidate))) is None:
            return None
        view = view_of(self._core.catalog, *last, candidate.facts.now_ms)
        statement = foresee(view)
        return None if statement is None else (view, Ahead(statement))

    async def _forsaken(self, request: AdmissionRequest, admission: Admission) -> None:
        """The client disconnected while its request was admitted together with others."""
        await self._take_back(self._claim(admission, request.now_ms))

    def _claim(self, admission: Admission, now_ms: int) -> Claim | None:
        if admission.standing is None or not admission.claimed:
            return None
        claim = Claim(
            admission.standing.patient_id, admission.pairing_no, admission.claimed, now_ms, admission.answered
        )
        self._core.grace_claims.begin(claim)
        return claim

    async def _allow(
        self, candidate: Candidate, counted: Collection[str], admission: Admission, claim: Claim | None
    ) -> Access:
        facts, token = candidate.facts, candidate.token
        decision = decide(replace(facts, standing=admission.standing))
        decision = _narrowed(decision, [miv.valueset for miv in candidate.mivs])
        if isinstance(decision, Refused):
            raise _refusal(decision, candidate.path)
        with_period = set(counted) & set(decision.valuesets)
        if counted:
            decided = "claimed" if admission.claimed else "refused" if with_period else "free"
            self._core.metrics.grace.labels(decided).inc()
        if with_period and not admission.claimed:
            refused("grace-period")
            raise throttled(self._wait_seconds(admission, with_period, facts.now_ms), self._longest(with_period))
        scopes = granted(token.scope).within(decision.valuesets)
        openings = await openings_of(self._core, decision, scopes, admission)
        view = view_of(self._core.catalog, decision, openings, facts.now_ms)
        if is_spread(self._core.pool):
            self._seen.put(_who(candidate), (decision, openings))
        return Access(view, scopes, token.pairing_id, token.client_id, claim, admission.restores, entry=admission.entry)

    async def forgive(self, access: Access) -> None:
        """The request failed after it was admitted, so it does not count towards the Grace-Period."""
        await self._take_back(access.claim)

    async def _take_back(self, claim: Claim | None) -> None:
        if claim is not None:
            await self._core.grace_claims.take_back(self._core.pool, claim)

    def charged(self, access: Access, reply: Reply) -> Reply:
        """`reply`, with which the Grace-Period begins, but only if it is sent while the client is connected."""
        if (claim := access.claim) is None:
            return reply

        async def settle(sent: bool) -> None:
            if sent:
                self._core.grace_claims.answered(claim)
            else:
                await self._take_back(claim)

        longest = self._longest(claim.urls)
        told = lowercase(limited(GRACE_PERIOD, longest, 1, longest))
        return replace(reply, headers=(*reply.headers, *told), settle=settle)

    def _longest(self, valuesets: Collection[str]) -> int:
        """Seconds of the longest Grace-Period of these MIVs."""
        return max(self._core.catalog.terms[url].grace_seconds for url in valuesets)

    def _verified(self, scope: Scope, now_ms: int) -> Claims:
        credentials = header_values(scope, "authorization")
        scheme, _, token = credentials[0].partition(" ") if len(credentials) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token.strip():
            raise InvalidToken("")
        return self._verifier.verify(token.strip(), now_ms)

    def _admission_request(
        self, candidate: Candidate, asked: Collection[str] | None, counted: Collection[str]
    ) -> AdmissionRequest:
        facts, token = candidate.facts, candidate.token
        decoded = self._core.ids.decode(token.grant_id)
        terms = self._core.catalog.terms
        permits = [
            Permit(
                miv.valueset,
                terms[miv.valueset].grace_seconds * 1000 if miv.valueset in counted else None,
                asked is None or miv.valueset in asked,
            )
            for miv in candidate.mivs
        ]
        detail = {"interaction": facts.interaction, "type": facts.resource_type}
        grant_no = decoded[1] if decoded is not None and decoded[0] is Kind.GRANT else 0
        return AdmissionRequest(
            token.pairing_id,
            grant_no,
            token.client_id,
            permits,
            detail,
            facts.now_ms,
            self._core.steered_ms,
            own_session=self._core.settings.database_statement_cache > 0,
        )

    def _wait_seconds(self, admission: Admission, valuesets: Collection[str], now_ms: int) -> int:
        """The seconds until the last of the periods ends; the whole period for one that has only just begun."""
        ends = [
            min(admission.answered.get(url, now_ms), now_ms) + self._core.catalog.terms[url].grace_seconds * 1000
            for url in valuesets
        ]
        running = [end for end in ends if end > now_ms] or ends
        return -(-(max(running) - now_ms) // 1000)

    async def _record_refusal(self, diga: Diga | None, pairing_id: str | None, reason: str, now_ms: int) -> None:
        """The patient of the pairing sees the refusal, whichever DiGA it was (AUD-005)."""
        if diga is None:  # anybody whom the handshake accepts, or everybody behind a proxy
            self._core.strangers.count(str(Event.DATA_REFUSED), None, now_ms)
            return
        detail, patient_id = {"reason": str(reason)}, await patient_of(self._core.pool, pairing_id) or NOBODY
        await audited(
            self._core.pool, NewEntry(patient_id, now_ms, str(Event.DATA_REFUSED), diga.client_id, pairing_id, detail)
        )


def _who(candidate: Candidate) -> tuple[object, ...]:
    return candidate.token.pairing_id, candidate.token.grant_id, tuple(miv.valueset for miv in candidate.mivs)


def _best_case(token: Claims) -> Standing:
    """The best that the database could say; a request refused even then needs no look at it."""
    consents = dict.fromkeys(granted(token.scope).valuesets, 2**63)
    return Standing(NOBODY, token.client_id, False, consents)


def _narrowed(decision: Allowed | Refused, valuesets: Collection[str] | None) -> Allowed | Refused:
    """`decision` as far as it allows one of these MIVs; None: any."""
    if isinstance(decision, Refused) or valuesets is None:
        return decision
    allowed = tuple(url for url in decision.valuesets if url in valuesets)
    return replace(decision, valuesets=allowed) if allowed else Refused(Reason.SCOPE_MISSING)


def _refusal(decision: Refused, path: str) -> FhirError:
    refused(decision.reason)
    match decision.reason.status:
        case 401:
            return unauthorized(_TEXTS[decision.reason])
        case 503:
            return unavailable("The DiGA directory cannot be reached at the moment", follower.RETRY_SECONDS)
        case _:
            return not_known(path)
