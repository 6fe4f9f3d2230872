"""read and vread: one resource by id (FHIR R4 http.html#read, #vread; HDDT error-codes.md)."""

from __future__ import annotations

from dataclasses import dataclass

from ddr.diga_api.access import Access, Candidate, Gate
from ddr.diga_api.conditional import has_it, of_that_second, validators
from ddr.diga_api.request import Request, rendered
from ddr.diga_api.resources import KINDS, TYPES, Builder, Key, Version
from ddr.fhir.negotiation import Format
from ddr.fhir.outcome import deleted, invalid_value, not_known, outside_history, version_not_valid
from ddr.fhir.pieces import document
from ddr.fhir.subset import WHOLE, Subset, read_subset
from ddr.fhir.versions import stored_versions
from ddr.http.asgi import Reply, Scope
from ddr.http.core import Core
from ddr.http.exchange import amend
from ddr.scopes.decision import Interaction
from ddr.store.database.ids import Kind
from ddr.store.database.pool import Row
from ddr.store.search.reads import former_version, read, read_statement


async def answer_read(core: Core, gate: Gate, scope: Scope, request: Request) -> Reply:
    """GET [type]/[id]: the current version. Raises FhirError 400, 401, 404, 406, 410 or 503."""
    resource_type, logical_id = request.segments
    candidate = await gate.identify(scope, request.path, resource_type, Interaction.READ)
    representation = request.check_representation()
    subset, key = _subset(resource_type, request), _key(core, resource_type, logical_id)
    access = await gate.admit(
        candidate,
        _mivs_of(candidate, key),
        lambda view: None if key is None else read_statement(view, *key),
        counts=False,
    )
    answer = _Answer(core, access, request, representation, key)
    current = await answer.current()
    if current.kind is not Kind.DEVICE and await answer.client_has(current):
        return request.unchanged(validators(*current.version))
    return answer.reply(current, subset)


async def answer_vread(core: Core, gate: Gate, scope: Scope, request: Request) -> Reply:
    """GET [type]/[id]/_history/[version]: the current version or, where versions are kept, a former one.

    Raises as `answer_read`, and 404 for a version that never existed.
    """
    resource_type, logical_id, _, version_id = request.segments
    reference = f"{resource_type}/{logical_id}"
    candidate = await gate.identify(scope, reference, resource_type, Interaction.VREAD)
    representation = request.check_representation()
    subset, key = _subset(resource_type, request), _key(core, resource_type, logical_id)
    access = await gate.admit(candidate, _mivs_of(candidate, key), counts=False)
    answer = _Answer(core, access, request, representation, key)
    shown = await answer.current()
    if shown.version_id != version_id:
        former = await answer.former(shown, version_id)
        if former is None:
            raise version_not_valid(version_id, reference)
        shown = former
    return answer.reply(shown, subset)


def _subset(resource_type: str, request: Request) -> Subset:
    """The requested part of the resource. Raises FhirError 400."""
    subset = read_subset(resource_type, request.parameters)
    if subset.counts_only:
        raise invalid_value("_summary", subset.summary)
    return subset


def _key(core: Core, resource_type: str, logical_id: str) -> Key | None:
    """The key that an id names, if it is of this type."""
    decoded = core.ids.decode(logical_id)
    return decoded if decoded is not None and decoded[0] in KINDS[resource_type] else None


def _mivs_of(candidate: Candidate, key: Key | None) -> list[str] | None:
    """For an Observation, the MIVs that may contain it: its id tells whether it is a chunk. For other types None."""
    if candidate.facts.resource_type != "Observation":
        return None
    chunk = key is not None and key[0] is Kind.CHUNK
    return [miv.valueset for miv in candidate.mivs if key is not None and miv.continuous == chunk]


@dataclass(frozen=True)
class _Shown:
    """One version of a resource that this DiGA may see: its row, and the version number and time shown to this DiGA."""

    kind: Kind
    row: Row
    version: Version

    @property
    def version_id(self) -> str:
        """meta.versionId."""
        return str(self.version[0])


class _Answer:
    """Answers an admitted read or vread, in the requested format, indented or not; `key` is what its id names, None
    when that is nothing of this type."""

    def __init__(
        self, core: Core, access: Access, request: Request, representation: tuple[Format, bool], key: Key | None
    ) -> None:
        self._core, self._access, self._request, self._key = core, access, request, key
        self._fmt, self._pretty = representation
        self._builder = Builder(core, access, self._fmt)

    async def current(self) -> _Shown:
        """The current version. Raises FhirError 404 and 410; unknown, foreign and out of scope look the same (RS-027).

        The entry of the audit trail then says what was read: nothing if nothing is shown, otherwise the one MIV.
        """
        resource_type, logical_id = self._request.segments[:2]
        reference, key = f"{resource_type}/{logical_id}", self._key
        row = None if key is None else await read(self._core.pool, self._access.view, *key, self._access.fetched)
        if row is None or not row["within"] or row["deleted"]:
            amend(self._access.entry, valuesets=[])
        elif resource_type == "Observation":
            amend(self._access.entry, valuesets=[row["observed_miv"]])
        if key is None or row is None:
            raise not_known(reference)
        if not row["within"]:
            raise outside_history(reference, self._core.catalog.terms[row["observed_miv"]].historic_days)
        if row["deleted"]:
            raise deleted()
        return self._shown(key[0], row)

    async def former(self, current: _Shown, version_id: str) -> _Shown | None:
        """The former version of `current` that was shown as `version_id`; None if there was none."""
        for number in stored_versions(version_id, self._access.restores):
            row = await former_version(self._core.pool, self._access.view, current.kind, current.row["no"], number)
            if row is not None:
                shown = self._shown(current.kind, {**current.row, **row})
                if shown.version_id == version_id:
                    return shown
        return None

    async def client_has(self, current: _Shown) -> bool:
        """Whether a conditional request says that the client has this version.

        A date has whole seconds, so it only says so when no other version was shown within that second.
        """
        number, updated_ms = current.version
        if has_it(self._request.headers, number, updated_ms):
            return True
        if not of_that_second(self._request.headers, updated_ms):
            return False
        if number == 1 or self._builder.changed_ms(current.row, current.kind) < updated_ms:
            return True  # the first version, or one that became visible later than it was made
        before = await self.former(current, str(number - 1))
        return before is not None and before.version[1] // 1000 < updated_ms // 1000

    def reply(self, shown: _Shown, subset: Subset) -> Reply:
        """200 with the resource and the headers of FHIR R4 http.html#versioning."""
        extra = validators(*shown.version)
        if self._pretty or subset != WHOLE:
            resource = self._builder.resource(shown.row, shown.kind)
            reply = self._request.reply(subset.of(resource), 200, extra)
        else:
            piece = self._builder.piece(shown.row, shown.kind, self._request.segments[1])
            reply = rendered(document(TYPES[shown.kind], piece, self._fmt), self._fmt, 200, extra)
        self._builder.counted()
        return reply

    def _shown(self, kind: Kind, row: Row) -> _Shown:
        return _Shown(kind, row, self._builder.version(row, kind))
