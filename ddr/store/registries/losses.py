"""What the DiGA-VZ withdrew and what has not followed from it yet; who uses which DiGA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from ddr.store.database.pool import Connection

WHOLE = ""  # instead of a ValueSet: the DiGA itself


@dataclass(frozen=True)
class Loss:
    """A DiGA that is no longer listed, or a kind of data that it may no longer read."""

    client_id: str
    valueset: str  # WHOLE: the DiGA itself
    since_ms: int
    readings: int = 0  # how many readings of the registry lacked it
    unknown: int = 0  # in how many of these the DiGA was unknown when asked for
    evidence: str = ""
    held_ms: int | None = None  # since when the end waits for an operator
    confirmed: bool = False  # by an operator
    decided: bool = False  # it ends, whatever the registry says from now on

    @property
    def key(self) -> tuple[str, str]:
        """Client id, and the ValueSet or WHOLE."""
        return self.client_id, self.valueset


@dataclass(frozen=True)
class Use:
    """How many living pairings a DiGA has, and for which kinds of data there is a consent."""

    pairings: int
    valuesets: frozenset[str]


_READ = """
SELECT client_id, valueset, since_ms, readings, unknown, evidence, held_ms, confirmed, decided
  FROM registry_loss ORDER BY since_ms, client_id, valueset"""
_READ_LOCKED = f"{_READ} FOR UPDATE"


async def in_use(connection: Connection) -> dict[str, Use]:
    """Client id of each DiGA with living pairings → how much it is used."""
    rows = await connection.fetch(
        """
        SELECT p.client_id, count(DISTINCT (p.patient_id, p.pairing_no)) AS pairings,
               coalesce(array_agg(DISTINCT c.miv_url) FILTER (WHERE c.miv_url IS NOT NULL), '{}') AS valuesets
          FROM pairing p
          LEFT JOIN consent c ON c.patient_id = p.patient_id AND c.pairing_no = p.pairing_no AND c.withdrawn_ms IS NULL
         WHERE p.ended_ms IS NULL GROUP BY p.client_id
        """
    )
    return {row["client_id"]: Use(row["pairings"], frozenset(row["valuesets"])) for row in rows}


async def read(connection: Connection, *, lock: bool = False) -> list[Loss]:
    """All losses that were seen and not carried out yet; `lock`: nobody changes them until the transaction ends."""
    rows = await connection.fetch(_READ_LOCKED if lock else _READ)
    return [Loss(**row) for row in rows]


async def write(connection: asyncpg.Connection, losses: Sequence[Loss]) -> None:
    """Within a transaction: make `losses` the only ones."""
    await connection.execute("DELETE FROM registry_loss")
    await connection.executemany(
        "INSERT INTO registry_loss (client_id, valueset, since_ms, readings, unknown, evidence, held_ms, confirmed,"
        " decided) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [tuple(vars(loss).values()) for loss in losses],
    )


async def confirm(connection: Connection, client_id: str | None) -> int:
    """An operator has checked the losses: the ends of this DiGA may happen. With None, all that wait for an operator
    may, and no others, such as those of a DiGA that the registry still knows when asked. Returns how many."""
    status: str = await connection.execute(
        "UPDATE registry_loss SET confirmed = true WHERE NOT decided AND coalesce(client_id = $1, held_ms IS NOT NULL)",
        client_id,
    )
    return int(status.split()[-1])


async def forget(connection: Connection, loss: Loss) -> None:
    """Delete a loss after everything has followed from it."""
    await connection.execute(
        "DELETE FROM registry_loss WHERE client_id = $1 AND valueset = $2 AND decided", loss.client_id, loss.valueset
    )


async def held(connection: Connection) -> int:
    """How many ends wait for an operator."""
    found: int = await connection.fetchval(
        "SELECT count(*) FROM registry_loss WHERE held_ms IS NOT NULL AND NOT confirmed AND NOT decided"
    )
    return found
