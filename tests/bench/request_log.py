"""Bytes on disk of a record of the request log, indexes, seals and signatures included: for a day of polls, sealed
minute by minute, and after the day is packed; and for a record in a row of its own that waits for its seal."""

from __future__ import annotations

import random
from collections.abc import Iterator
from uuid import uuid4

import asyncpg

from ddr.http.request_log.record import Call, line
from ddr.operations.request_log.days import pack_some
from ddr.settings import Settings
from ddr.store.audit.request_log_form import deflated
from tests.bench.figure import Figure, Goal
from tests.support.audit import DAY_MS, HOUR_MS
from tests.support.day import today
from tests.support.request_log import CLIENTS, OPERATOR, Pen, seal_lines

PAIRINGS, POLLS, MINUTE_MS = 1000, 96, 60_000
MOST = 30  # bytes; 16 of them are the transaction id, drawn by chance
_SIZE = "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree($1::regclass)"


async def figures(pool: asyncpg.Pool) -> list[Figure]:
    """A poll is a new access token and a search, so it makes two records."""
    chance, settings, pen, run = random.Random(1), Settings(), Pen(), uuid4()
    minutes: list[list[tuple[int, bytes]]] = [[] for _ in range(DAY_MS // MINUTE_MS)]
    waiting = lines = 0
    for at, told in _polls(chance):
        minutes[at // MINUTE_MS].append((at, told))
        waiting, lines = waiting + len(deflated(told)), lines + len(told)
    for number, found in enumerate(minutes):
        now_ms = (today() - 1) * DAY_MS + number * MINUTE_MS + MINUTE_MS - 1
        await seal_lines(pool, pen, settings, run, number + 1, [told for _, told in sorted(found)], now_ms)
    count = await pool.fetchval("SELECT sum(entries) FROM request_log_seal")
    sealed = await pool.fetchval(_SIZE, "request_log_seal")
    while not await pack_some(pool, today() * DAY_MS + HOUR_MS):
        pass
    packed = sum([await pool.fetchval(_SIZE, table) for table in ("request_log_seal", "request_log_word")])
    name = f"request log: a day of {POLLS} polls of {PAIRINGS:,} pairings"
    return [
        Figure("bytes_per_record", f"{name}, packed", packed / count, "bytes", target=Goal(most=MOST)),
        Figure("bytes_per_record_sealed", f"{name}, sealed by minutes", sealed / count, "bytes"),
        Figure(
            "bytes_per_record_waiting",
            f"{name}, until it is sealed, against its line",
            waiting / count,
            "bytes",
            lines / count,
            waiting / lines,
        ),
    ]


def _polls(chance: random.Random) -> Iterator[tuple[int, bytes]]:
    """Each pairing polls every 15 minutes, a second more or less: instants of the day in milliseconds, with records."""
    for person in range(PAIRINGS):
        begun, client, pairing = (
            chance.randrange(DAY_MS // POLLS - 2000),
            CLIENTS[person % 2],
            chance.randbytes(32).hex(),
        )
        for poll in range(POLLS):
            at = begun + poll * (DAY_MS // POLLS) + chance.randrange(2000)
            renewed = (
                at,
                "Authorization",
                "/oauth/token",
                "POST",
                chance.randrange(4, 30),
                chance.randrange(2500, 2503),
            )
            found = (
                at + 40,
                "Transfer",
                "/fhir/Observation",
                "GET",
                chance.randrange(5, 60),
                chance.choice((900, 4300)),
            )
            for when, event, endpoint, method, took, volume in (renewed, found):
                yield (
                    when,
                    line(
                        Call(
                            transaction_id=chance.randbytes(16).hex(),
                            at_ms=(today() - 1) * DAY_MS + when,
                            event_type=event,
                            endpoint=endpoint,
                            message=f"{method} {endpoint}: 200 OK",
                            status=200,
                            response_time_ms=took,
                            data_volume_bytes=volume + chance.randrange(3),
                            client_id=client,
                            pairing_id=pairing,
                        ),
                        OPERATOR,
                    ),
                )
