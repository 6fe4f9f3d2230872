"""What a request may see of a patient: the parameters and the first lines of every statement that searches or reads.

Instants are milliseconds UTC, both ends of a range inclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ddr.store.database.ids import Kind

# The SQL types of the values of `View.parameters`.
PARAMETERS = ("uuid", "text[]", "bigint[]", "bigint[]", "bigint", "bigint[]", "bigint[]", "bigint[]", "bigint")


@dataclass(frozen=True)
class Opening:
    """When a pairing was allowed to see more than it had seen from its start: to its DiGA that is new (RS-036).

    For one MIV, in ms: all of it opened at `opened_ms`, and what ended before `older_ms` at `older_opened_ms`; 0:
    visible from the start.
    """

    opened_ms: int = 0
    older_ms: int = 0
    older_opened_ms: int = 0

    def updated_ms(self, updated_ms: int, end_ms: int) -> int:
        """meta.lastUpdated of an Observation that changed at `updated_ms` and covers time up to `end_ms`."""
        return max(updated_ms, self.opened_ms, self.older_opened_ms if end_ms < self.older_ms else 0)


OPEN = Opening()


@dataclass(frozen=True)
class Term:
    """One MIV that a request may see, from `floor_ms` on (now minus its Historic-Data-Period)."""

    valueset: str
    continuous: bool
    floor_ms: int
    delay_ms: int  # Delay-From-Real-Time
    opening: Opening = OPEN


@dataclass(frozen=True)
class View:
    """Whose data a request sees, and which part of it; becomes the parameters $1 to $9 of every statement.

    `now_ms` is the clock of the request. Changes that time alone makes to series follow the patient's own clock
    (`moment`).
    """

    patient_id: UUID
    terms: Sequence[Term]
    now_ms: int
    opened_ms: int = 0  # when the pairing was last allowed to see more: all Devices and DeviceMetrics are as new

    def parameters(self) -> list[Any]:
        """The values of $1 to $9 in each of the sources."""
        return [
            self.patient_id,
            [term.valueset for term in self.terms],
            [term.floor_ms for term in self.terms],
            [term.delay_ms for term in self.terms],
            self.now_ms,
            [term.opening.opened_ms for term in self.terms],
            [term.opening.older_ms for term in self.terms],
            [term.opening.older_opened_ms for term in self.terms],
            self.opened_ms,
        ]

    @property
    def observed(self) -> frozenset[Kind]:
        """The kinds of Observations that its MIVs have. Statements leave the other kind out: half of the work."""
        kinds = frozenset(Kind.CHUNK if term.continuous else Kind.MEASUREMENT for term in self.terms)
        return kinds or frozenset({Kind.MEASUREMENT})

    def opening(self, valueset: str) -> Opening:
        """When the Observations of this MIV became visible."""
        return next((term.opening for term in self.terms if term.valueset == valueset), OPEN)


# `moment`: the patient's present (ddr.store.database.stamps). `term`: the MIVs of the view, a row for each.
TERM = """
moment AS MATERIALIZED (SELECT coalesce((SELECT stamp_ms FROM patient WHERE patient_id = $1), $5::bigint) AS at_ms),
term AS (SELECT * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
             AS t(miv_url, floor_ms, delay_ms, opened_ms, older_ms, older_opened_ms))"""
NOW = "(SELECT at_ms FROM moment)"


def seen_since(updated: str, end: str) -> str:
    """SQL: when a row `updated` then and with this `end` became visible as it is; as Opening.updated_ms."""
    return f"greatest({updated}, opened_ms, CASE WHEN {end} < older_ms THEN older_opened_ms END)"
