"""What is wrong with the service as a whole: each worker's findings, and what all workers can read in the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ddr.fhir.instants import date_time
from ddr.http.core import Core
from ddr.http.watch import DEMOTED, UNAVAILABLE, Trouble
from ddr.operations.figures import background
from ddr.operations.status.checks import JOB_MS, job_fails, registry_stale, relied_on_ms
from ddr.operations.status.functions import HOLDUP, INGESTION, data_of, expanded
from ddr.store.credentials.register import Kind
from ddr.store.outages.reports import Report
from ddr.store.registries.sources import Source

CREDENTIALS = {
    Kind.BRIDGE: ("The certificate of a cloud bridge", "Das Zertifikat einer Cloud-Bridge"),
    Kind.REGISTRY: ("The credential for a registry", "Der Zugang zu einem Register"),
    Kind.DATABASE: ("A credential for the database", "Ein Zugang zur Datenbank"),
}
SILENT_MS, FORGOTTEN_MS = 30_000, 600_000  # a worker is silent; it is no longer expected


def merged(troubles: Iterable[Trouble]) -> dict[str, Trouble]:
    """One trouble per key: the worst state, all functions, the earliest beginning, and the latest end if all stay
    away."""
    found: dict[str, Trouble] = {}
    for one in troubles:
        known = found.get(one.key)
        if known is None:
            found[one.key] = one
            continue
        worse = one if (one.state, known.state) == (UNAVAILABLE, DEMOTED) else known
        functions = list(dict.fromkeys([*known.functions, *one.functions]))
        last_ms = None if known.last_ms is None or one.last_ms is None else max(known.last_ms, one.last_ms)
        found[one.key] = replace(
            worse, functions=functions, since_ms=earliest(known.since_ms, one.since_ms), last_ms=last_ms
        )
    return found


def earliest(*instants: int | None) -> int | None:
    """The earliest known instant; None when none is known."""
    known = [at for at in instants if at is not None]
    return min(known) if known else None


def of_registries(core: Core, sources: Mapping[str, Source], held: int, now_ms: int) -> list[Trouble]:
    """Registry data that is too old is an outage of what relies on it; a registry that does not answer is reported
    earlier."""
    found = [trouble for name, source in sources.items() if (trouble := _registry(core, name, source, now_ms))]
    if held:
        told = (
            f"The DiGA-VZ removed {held} permissions at once; they are being checked",
            f"Das DiGA-VZ hat {held} Berechtigungen auf einmal entzogen; sie werden geprüft",
        )
        found.append(Trouble("registry-held", DEMOTED, [], *told))
    return found


def _registry(core: Core, name: str, source: Source, now_ms: int) -> Trouble | None:
    limit_ms = relied_on_ms(core.settings).get(name)
    if limit_ms is not None and now_ms - source.seen_ms > limit_ms:
        return registry_stale(name, source.seen_ms + limit_ms if source.seen_ms else source.fault_ms)
    if source.fault is not None and limit_ms is not None:
        told = (f"{name} cannot be read at the moment", f"{name} ist zurzeit nicht lesbar")
        return Trouble(f"{name}-fault", DEMOTED, [], *told, source.fault_ms)
    if name == "hiis-vz" and source.notes:
        told = (
            "The registration in the HIIS-VZ differs from this recorder",
            "Der Eintrag im HIIS-VZ weicht von diesem Recorder ab",
        )
        return Trouble(f"{name}-notes", DEMOTED, [], *told, source.seen_ms)
    return None


def of_this_host(core: Core, now_ms: int) -> list[Trouble]:
    """Jobs that have been failing for a while in any worker of this host."""
    return [
        job_fails(name, one.since_ms)
        for name, one in background(core).items()
        if one.since_ms is not None and now_ms - one.since_ms >= JOB_MS
    ]


def of_credentials(soon: Iterable[tuple[Kind, int]]) -> list[Trouble]:
    """Credentials of machines that expire without a successor, the earliest of each kind; names do not belong here."""
    found: dict[Kind, Trouble] = {}
    for kind, until_ms in soon:
        at = date_time(until_ms)
        told = (f"{CREDENTIALS[kind][0]} expires at {at}", f"{CREDENTIALS[kind][1]} endet: {at}")
        found.setdefault(kind, Trouble(f"credential-{kind}", DEMOTED, [], *told))
    return list(found.values())


def of_workers(reports: Iterable[Report], now_ms: int) -> list[Trouble]:
    """What every worker of every host found lately, and workers that fell silent.

    A worker that reported later than now disappeared before the clock was set back; those still running report again.
    """
    found: list[Trouble] = []
    for report in reports:
        silent_ms = now_ms - report.seen_ms
        if report.gone or not -SILENT_MS <= silent_ms <= FORGOTTEN_MS:
            continue
        if silent_ms <= SILENT_MS:
            found += [Trouble(**trouble, last_ms=report.quiet.get(trouble["key"])) for trouble in report.troubles]
        else:
            told = ("A worker no longer reports", "Ein Arbeitsprozess meldet sich nicht")
            found.append(Trouble("worker-silent", DEMOTED, [], *told, report.seen_ms))
    return found


class Standstill(NamedTuple):
    """Ingestion is, or was, unavailable; in milliseconds."""

    from_ms: int
    until_ms: int  # now, while it is


def beyond_holdup(core: Core, standstills: Sequence[Standstill]) -> list[Trouble]:
    """Data that could not be taken in for longer than the Vendor-Holdup of its MIV is unavailable (OPS-016).

    Data can be read as soon as it is taken in, so its delay is the time for which it could not be taken in.
    """
    found = []
    for miv in core.catalog.mivs:
        holdup_ms = miv.vendor_holdup_seconds * 1000
        late = [one.from_ms + holdup_ms for one in standstills if one.until_ms > one.from_ms + holdup_ms]
        if late:
            told = (
                f"New data of {miv.name} has not been accepted for longer than its Vendor-Holdup of"
                f" {miv.vendor_holdup_seconds} s",
                f"Neue Daten ({miv.title_de}) können länger als {miv.vendor_holdup_seconds} s nicht aufgenommen werden",
            )
            found.append(Trouble(f"{HOLDUP}{miv.name}", UNAVAILABLE, [data_of(miv.name)], *told, min(late)))
    return found


def standing_still(troubles: Iterable[Trouble], now_ms: int) -> list[Standstill]:
    """For each reason, since and until when ingestion is unavailable: what only might come back stops nothing."""
    return [
        Standstill(one.since_ms or now_ms, one.last_ms or now_ms)
        for one in troubles
        if one.state == UNAVAILABLE and INGESTION in one.functions
    ]


def named(trouble: Trouble, core: Core) -> Trouble:
    """The trouble with its functions named as in the feed."""
    return replace(trouble, functions=expanded(trouble.functions, core.catalog))


def as_json(trouble: Trouble) -> dict[str, Any]:
    """The trouble for a worker's report, which has `last_ms` elsewhere: former versions do not know it."""
    return {name: value for name, value in vars(trouble).items() if name != "last_ms"} | {
        "functions": list(trouble.functions)
    }
