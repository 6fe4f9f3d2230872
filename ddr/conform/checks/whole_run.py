"""What no response of the whole run may be, whatever was requested; so these checks run last (HDDT error-codes.md)."""

from __future__ import annotations

from ddr.conform.check import Need, check
from ddr.conform.kit import Kit
from ddr.conform.verdict import expect

PATIENT = (Need.PATIENT,)


@check("RS-019", needs=PATIENT)
def errors_say_why(kit: Kit) -> None:
    """Every OperationOutcome of this run has details or diagnostics."""
    for one in kit.wire.exchanges:
        if one.status >= 400 and (issue := one.issue):
            expect(issue.get("details") or issue.get("diagnostics"), "neither details nor diagnostics", one)


@check("RS-023", needs=PATIENT)
def never_403(kit: Kit) -> None:
    """No FHIR request of this run was answered with 403."""
    for one in kit.wire.exchanges:
        forbidden = one.status == 403 and one.url.startswith(kit.target.fhir_base)
        expect(not forbidden, f"{one.told}", one)


@check("RS-030", needs=PATIENT)
def no_failures(kit: Kit) -> None:
    """No request of this run was answered with 500."""
    for one in kit.wire.exchanges:
        expect(one.status != 500, "answered 500", one)
