"""read and vread: one resource by id (FHIR R4 http.html#read, #vread; HDDT error-codes.md)."""

from __future__ import annotations

from ddr.diga_api.access import Access, Candidate, Gate
from ddr.diga_api.conditional import has_it, of_that_second, validators
from ddr.diga_api.request import Request, rendered
from ddr.diga_api.resources import KINDS, TYPES, Builder, Version
from ddr.fhir.outcome import deleted, invalid_value, not_known, outside_history, version_not_valid
from ddr.fhir.pieces import document
from ddr.fhir.subset import WHOLE, Subset, read_subset
from ddr.fhir.versions import stored_versions
from ddr.http.asgi import Reply, Scope
from ddr.http.core import Core
from ddr.http.exchange import told
from ddr.scopes.decision import Interaction
from ddr.store.database.ids import Kind
from ddr.store.search.reads import Row, former_version, read, read_asked


async def answer_read(core: Core, gate: Gate, scope: Scope, request: Request) -> Reply:
    """GET [type]/[id]: the current version. Raises FhirError 400, 401, 404, 406, 410 or 503."""
    resource_type, logical_id = request.segments
    candidate = await gate.identify(scope, request.path, resource_type, Interaction.READ)
    fmt, _ = request.check_representation()
    subset = _subset(resource_type, request)
    key = _key(core, resource_type, logical_id)
    access = await gate.admit(
        candidate,
        _asked(candidate, key),
        lambda view: None if key is None else read_asked(view, *key),
        counts=False,
    )
    kind, row = await _found(core, access, resource_type, logical_id)
    builder = Builder(core, access, fmt)
    version = builder.version(row, kind)
    if kind is not Kind.DEVICE and await _known(core, access, builder, kind, row, version, request):
        return request.unchanged(validators(*version))
    return _reply(request, builder, row, kind, version, subset)


async def answer_vread(core: Core, gate: Gate, scope: Scope, request: Request) -> Reply:
    """GET [type]/[id]/_history/[version]: the current version or, where versions are kept, a former one.

    Raises as `answer_read`, and 404 for a version that there never was.
    """
    resource_type, logical_id, _, version = request.segments
    reference = f"{resource_type}/{logical_id}"
    candidate = await gate.identify(scope, reference, resource_type, Interaction.VREAD)
    fmt, _ = request.check_representation()
    subset = _subset(resource_type, request)
    access = await gate.admit(candidate, _asked(candidate, _key(core, resource_type, logical_id)), counts=False)
    kind, row = await _found(core, access, resource_type, logical_id)
    builder = Builder(core, access, fmt)
    shown = builder.version(row, kind)
    if str(shown[0]) != version:
        former = await _former(core, access, builder, kind, row, version)
        if former is None:
            raise version_not_valid(version, reference)
        row, shown = former, builder.version(former, kind)
    return _reply(request, builder, row, kind, shown, subset)


async def _found(core: Core, access: Access, resource_type: str, logical_id: str) -> tuple[Kind, Row]:
    """The row behind an id. Unknown, foreign and out of scope look the same (RS-027)."""
    reference = f"{resource_type}/{logical_id}"
    key = _key(core, resource_type, logical_id)
    row = None if key is None else await read(core.pool, access.view, *key, access.asked)
    if row is None or not row["within"] or row["deleted"]:
        told(access.entry, valuesets=[])  # what is not shown is not read
    elif resource_type == "Observation":  # its id tells what may have it, its row what it is
        told(access.entry, valuesets=[row["observed_miv"]])
    if key is None or row is None:
        raise not_known(reference)
    if not row["within"]:
        raise outside_history(reference, core.catalog.terms[row["observed_miv"]].historic_days)
    if row["deleted"]:
        raise deleted()
    return key[0], row


def _asked(candidate: Candidate, key: tuple[Kind, int, int] | None) -> list[str] | None:
    """Of an Observation the MIVs that may have it, as its id tells whether it is a chunk; of others None."""
    if candidate.facts.resource_type != "Observation":
        return None
    chunk = key is not None and key[0] is Kind.CHUNK
    return [miv.valueset for miv in candidate.mivs if key is not None and miv.continuous == chunk]


def _key(core: Core, resource_type: str, logical_id: str) -> tuple[Kind, int, int] | None:
    """What an id names, if it is one of this type."""
    decoded = core.ids.decode(logical_id)
    return decoded if decoded is not None and decoded[0] in KINDS[resource_type] else None


async def _former(core: Core, access: Access, builder: Builder, kind: Kind, row: Row, version: str) -> Row | None:
    """The row of the former version that was shown as `version`."""
    for number in stored_versions(version, access.restores):
        former = await former_version(core.pool, access.view, kind, row["no"], number)
        if former is not None and str(builder.version(found := {**row, **former}, kind)[0]) == version:
            return found
    return None


def _subset(resource_type: str, request: Request) -> Subset:
    """The part of the resource that is asked for. Raises FhirError 400."""
    subset = read_subset(resource_type, request.parameters)
    if subset.counts_only:
        raise invalid_value("_summary", subset.summary)
    return subset


async def _known(
    core: Core, access: Access, builder: Builder, kind: Kind, row: Row, version: Version, request: Request
) -> bool:
    """Whether the client has the current version; a date tells when no other version was shown in that second."""
    number, updated_ms = version
    if has_it(request.headers, number, updated_ms):
        return True
    if not of_that_second(request.headers, updated_ms):
        return False
    if number == 1 or builder.changed_ms(row, kind) < updated_ms:  # the first one, or the one since it is visible
        return True
    former = await _former(core, access, builder, kind, row, str(number - 1))
    return former is not None and builder.version(former, kind)[1] // 1000 < updated_ms // 1000


def _reply(request: Request, builder: Builder, row: Row, kind: Kind, version: Version, subset: Subset) -> Reply:
    """With the headers of FHIR R4 http.html#versioning."""
    extra = validators(*version)
    fmt, pretty = request.check_representation()
    if pretty or subset != WHOLE:
        reply = request.reply(subset.of(builder.resource(row, kind)), 200, extra)
    else:
        reply = rendered(document(TYPES[kind], builder.piece(row, kind, request.segments[1]), fmt), fmt, 200, extra)
    builder.counted()
    return reply
