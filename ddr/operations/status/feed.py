"""The status feed as JSON, described by `schema.json` in this folder, which is served, too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from ddr.fhir.instants import instant
from ddr.http.core import Core
from ddr.http.operator import Operator
from ddr.http.watch import DEMOTED, UNAVAILABLE, Trouble
from ddr.operations.figures import background
from ddr.operations.status.board import Board
from ddr.operations.status.checks import days_left
from ddr.operations.status.functions import DATA, all_functions, endpoints, expanded
from ddr.store.outages.events import Event
from ddr.store.outages.notices import Notice
from ddr.store.registries.sources import Source

OPERATIONAL = "operational"
UPDATE = timedelta(seconds=60)  # each response describes its own moment; polling more often is not needed

Json = dict[str, Any]


def document(core: Core, board: Board) -> Json:
    now = datetime.fromtimestamp(board.now_ms / 1000, UTC)
    events = [_of_notice(core, board, one) for one in board.present]
    events += [_of_trouble(core, one) for one in board.troubles]
    return {
        "schema": f"{core.settings.public_base_url}/status.schema.json",
        "status": _worst(events),
        "updated": instant(board.now_ms),
        "next_update": instant(int((now + UPDATE).timestamp() * 1000)),
        "contact": Operator.of(core.settings).contact_url or None,
        "functions": [_function(core, name, events) for name in all_functions(core.catalog)],
        "events": events,
        "planned": [_of_notice(core, board, one) for one in board.to_come],
        "cancelled": [_of_notice(core, board, one) for one in board.cancelled],
        "past": _past(core, board),
        "registries": {name: _registry(source) for name, source in board.sources.items()},
        "certificate_days_left": days_left(core, board.now_ms),
        "metadata": {
            "fhir": f"{core.settings.public_base_url}/fhir/metadata",
            "oauth": f"{core.settings.public_base_url}/.well-known/oauth-authorization-server",
        },
        "mivs": {miv.valueset: miv.version for miv in core.catalog.mivs},
        "background": {
            name: {"failures": one.failures, "failing": None if one.since_ms is None else instant(one.since_ms)}
            for name, one in background(core).items()
        },
    }


def retracted(core: Core, board: Board) -> list[Json]:
    """Retracted events, the latest first, for readers that keep entries which disappear."""
    found = [
        _of_notice(core, board, one) if isinstance(one, Notice) else _of_event(core, board, one)
        for one in board.retracted
    ]
    return sorted(found, key=lambda one: str(one["updated"]), reverse=True)


@cache
def schema() -> bytes:
    """The JSON Schema of the feed."""
    return Path(__file__).with_name("schema.json").read_bytes()


def _worst(events: list[Json]) -> str:
    return next((word for word in (UNAVAILABLE, DEMOTED) if any(one["status"] == word for one in events)), OPERATIONAL)


def _function(core: Core, name: str, events: list[Json]) -> Json:
    """The state of one function, and of the event that causes it."""
    its = [one for one in events if name in one["functions"]]
    state = _worst(its)
    first = next((one for one in its if one["status"] == state), None)
    miv = core.catalog.by_name(name.partition(":")[2]) if name.startswith(f"{DATA}:") else None
    return {
        "function": name,
        **({"miv": miv.valueset, "vendor_holdup_seconds": miv.vendor_holdup_seconds} if miv else {}),
        "status": state,
        "start": first and first["start"],
        "end": first and first["end"],
        "cause": first and first["cause"],
        "endpoints": endpoints([name], core),
    }


def _of_notice(core: Core, board: Board, notice: Notice) -> Json:
    functions = expanded(notice.functions, core.catalog)
    return {
        "id": f"urn:uuid:{uuid5(NAMESPACE_URL, f'{core.settings.public_base_url}/status#{notice.notice}')}",
        "kind": "maintenance" if notice.planned else "disruption",
        "status": notice.state,
        "start": instant(notice.from_ms),
        "end": None if notice.end_ms is None else instant(notice.end_ms),
        "cause": notice.cause,
        "cause_de": notice.cause_de or notice.cause,
        "functions": functions,
        "endpoints": endpoints(functions, core),
        "impact": notice.impact or None,
        "impact_de": notice.impact_de or notice.impact or None,
        "contact": notice.contact or None,
        "announced": instant(notice.announced_ms),
        "urgent": notice.urgent_reason,
        "cancelled": None if notice.cancelled_ms is None else instant(notice.cancelled_ms),
        "updated": _updated(board, notice.notice, notice.changed_ms),
    }


def _updated(board: Board, name: str, changed_ms: int) -> str:
    """When there was news about a notice or an event: its own change, or an operator's later statement."""
    word = board.words.get(name)
    return instant(changed_ms if word is None else word.told_ms(changed_ms))


def _of_event(core: Core, board: Board, event: Event) -> Json:
    until_ms = event.from_ms if event.until_ms is None else event.until_ms
    found = _found(core, event, instant(event.from_ms), instant(until_ms))
    return {**found, "updated": _updated(board, event.name, until_ms)}


def _of_trouble(core: Core, trouble: Trouble) -> Json:
    start = None if trouble.since_ms is None else instant(trouble.since_ms)
    return _found(core, trouble, start, None)


def _found(core: Core, one: Trouble | Event, start: str | None, end: str | None) -> Json:
    """A finding of the checks. One that affects no function yet still says which addresses it would affect."""
    functions = expanded(one.functions, core.catalog)
    name = f"{core.settings.public_base_url}/status#{one.key}-{start}"
    return {
        "id": f"urn:uuid:{uuid5(NAMESPACE_URL, name)}",
        "kind": "maintenance" if one.key == "maintenance" else "disruption",
        "status": one.state,
        "start": start,
        "end": end,
        "cause": one.cause,
        "cause_de": one.cause_de,
        "functions": functions,
        "endpoints": endpoints(functions, core),
        "impact": None,
        "impact_de": None,
        "contact": Operator.of(core.settings).contact_url or None,
        "updated": end or start,
    }


def _past(core: Core, board: Board) -> list[Json]:
    """Past events, newest first."""
    found = [_of_event(core, board, one) for one in board.past]
    found += [
        _of_notice(core, board, one)
        for one in board.notices
        if one.cancelled_ms is None and one.end_ms is not None and one.end_ms <= board.now_ms
    ]
    return sorted(found, key=lambda one: str(one["end"]), reverse=True)[:100]


def _registry(source: Source) -> Json:
    return {
        "seen": instant(source.seen_ms) if source.seen_ms else None,
        "reachable": source.fault is None,
        "notes": len(source.notes),
    }
