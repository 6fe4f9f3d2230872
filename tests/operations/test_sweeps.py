"""Housekeeping reads expired rows and nothing else, however many others there are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import asyncpg
import pytest

from ddr.http.core import Core
from ddr.operations import audit_trail
from ddr.operations.audit_packing import pack_some
from ddr.store.audit import days
from ddr.store.audit.entries import oldest_unsealed_ms
from ddr.store.authorization import par, tokens
from ddr.store.authorization.unpairing import unpair_expired
from ddr.store.database.migrate import migrate
from ddr.store.database.placing import spread
from ddr.store.database.pool import open_pool
from ddr.store.database.sweeping import STEP
from ddr.store.gateways import apps, requests
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.patients import files, journeys, logouts, sessions
from ddr.store.search import pages
from tests.support.database import fresh_database
from tests.support.touched import touched

DAY = 86_400_000
NOW = 20_000 * DAY
ROWS = 4000
MOST_BLOCKS = 40
MINE = "gen_random_uuid()"
HASH = "uuid_send(gen_random_uuid())"

Sweep = Callable[[asyncpg.Pool], Awaitable[object]]

# What puts `n` rows that expire at {at} into a table, and what sweeps it at NOW.
SWEEPS: dict[str, tuple[str, Sweep]] = {
    "search_rest": (
        f"INSERT INTO search_rest (patient_id, expires_ms, kinds, nos, ks)"
        f" SELECT {MINE}, {{at}}, '{{{{3}}}}', '{{{{1}}}}', '{{{{1}}}}'",
        lambda pool: pages.sweep(pool, NOW),
    ),
    "browser_session": (
        f"INSERT INTO browser_session (cookie_sha256, patient_id, username, created_ms, seen_ms)"
        f" SELECT {HASH}, {MINE}, 'u', {{at}} - 600000, {{at}} - 600000",
        lambda pool: sessions.sweep(pool, NOW, 600_000),
    ),
    "login_journey": (
        f"INSERT INTO login_journey SELECT {HASH}, {HASH}, 'n', 'v', '', false, {{at}} - {journeys.LONGEST_MS}",
        lambda pool: journeys.sweep(pool, NOW),
    ),
    "provider_logout": (
        f"INSERT INTO provider_logout (token_sha256, issued_ms, expires_ms) SELECT {HASH}, 0, {{at}}",
        lambda pool: logouts.sweep(pool, NOW),
    ),
    "patient_file": (
        f"INSERT INTO patient_file SELECT {MINE}, 'd', 'c', {{at}} - {files.KEEP_MS}",
        lambda pool: files.sweep(pool, NOW),
    ),
    "pushed_request": (
        f"INSERT INTO pushed_request (request_sha256, client_id, redirect_uri, state, scope, code_challenge,"
        f" expires_ms)"
        f" SELECT {HASH}, 'c', 'r', 's', 's', 'c', {{at}} - 3600000",
        lambda pool: par.sweep(pool, NOW),
    ),
    "authorization_code": (
        f"INSERT INTO authorization_code SELECT {HASH}, {MINE}, 1, 'c', 'r', 'c', {{at}} - {tokens.MEMORY_MS}",
        lambda pool: tokens.sweep(pool, NOW),
    ),
    "token_grant": (
        f"INSERT INTO token_grant (patient_id, pairing_no, scope, created_ms, refresh_expires_ms)"
        f" SELECT {MINE}, 1, '', 0, {{at}} - {tokens.MEMORY_MS}",
        lambda pool: tokens.sweep(pool, NOW),
    ),
    "gateway_request": (
        f"INSERT INTO gateway_request (patient_id, request_key, request_sha256, created_ms)"
        f" SELECT {MINE}, 'k', '', {{at}} - {requests.KEEP_MS}",
        lambda pool: requests.sweep(pool, NOW),
    ),
    "gateway_code": (
        f"INSERT INTO gateway_code SELECT {MINE}, {HASH}, {{at}}",
        lambda pool: apps.sweep_codes(pool, NOW),
    ),
    "gateway_token": (
        f"INSERT INTO gateway_token (token_sha256, patient_id, created_ms, app, expires_ms)"
        f" SELECT {HASH}, {MINE}, 0, {HASH}, {{at}}",
        lambda pool: gateway_tokens.sweep(pool, NOW),
    ),
}


@pytest.fixture
async def own(core: Core, database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A database of its own: housekeeping concerns all patients."""
    async with fresh_database(database_url) as url, await open_pool(replace(core.settings, database_url=url)) as pool:
        await migrate(pool)
        yield pool


async def fill(pool: asyncpg.Pool, insert: str, at_ms: int | str, rows: int) -> None:
    """`at_ms`: an instant, or an expression as SQL."""
    await pool.execute(f"{insert.format(at=at_ms)} FROM generate_series(1, {rows})")


async def test_sweeps_look_at_what_is_due_only(own: asyncpg.Pool) -> None:
    for insert, _ in SWEEPS.values():
        await fill(own, insert, NOW + 2 * DAY, ROWS)
    await own.execute("VACUUM ANALYZE")
    for table, (insert, sweep) in SWEEPS.items():
        await sweep(own)
        async with touched(own, table) as nothing_due:
            await sweep(own)
        assert nothing_due.written == 0, table
        assert nothing_due.blocks <= MOST_BLOCKS, table
        await fill(own, insert, NOW - 2 * DAY, STEP + 5)
        async with touched(own, table) as work:
            await sweep(own)
        assert work.written == STEP + 5, table
        assert work.fetched <= 3 * work.written, table
        assert await own.fetchval(f"SELECT count(*) FROM {table}") == ROWS


async def test_over_servers_a_backlog_goes_in_steps(own: asyncpg.Pool) -> None:
    """After days without housekeeping, one statement would exceed the statement timeout every minute anew."""
    await own.execute(
        """CREATE TABLE step (rows bigint);
           CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO step SELECT count(*) FROM gone; RETURN NULL; END'"""
    )
    own.servers.spread = True
    for table in sorted(SWEEPS.keys() & spread().keys()):
        insert, sweep = SWEEPS[table]
        await own.execute(
            f"""CREATE TRIGGER step AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone
                  FOR EACH STATEMENT EXECUTE FUNCTION note()"""
        )
        await fill(own, insert, f"({NOW} - (generate_series::bigint + 2) * {DAY})", 2 * STEP + 5)
        await fill(own, insert, NOW + 2 * DAY, 3)
        await sweep(own)
        assert await own.fetchval(f"SELECT count(*) FROM {table}") == 3, table
        steps = await own.fetchrow("SELECT max(rows) AS most, sum(rows) AS rows FROM step")
        assert (steps["most"], steps["rows"]) == (STEP, 2 * STEP + 5), table
        await own.execute("TRUNCATE step")


async def test_consents_that_run_are_not_looked_at(own: asyncpg.Pool) -> None:
    insert = """
        WITH p AS (INSERT INTO pairing (patient_id, pairing_id, client_id, salt, created_ms)
                   SELECT gen_random_uuid(), gen_random_uuid()::text, 'c', '', 0 FROM generate_series(1, $2)
                   RETURNING patient_id, pairing_no)
        INSERT INTO consent (patient_id, pairing_no, miv_url, granted_ms, until_ms)
        SELECT patient_id, pairing_no, 'https://x', 0, $1 FROM p"""
    for _ in range(8):  # what a transaction makes of pairings is gathered row by row at its end
        await own.execute(insert, NOW + 1, ROWS // 8)
    await own.execute("VACUUM ANALYZE")
    await unpair_expired(own, NOW)
    async with touched(own) as work:
        assert await unpair_expired(own, NOW) == 0
    assert work.blocks <= MOST_BLOCKS
    await own.execute(insert, NOW - 1, 3)
    async with touched(own) as work:
        assert await unpair_expired(own, NOW) == 3
    assert work.blocks <= 3 * 60 + MOST_BLOCKS
    async with touched(own) as work:
        assert await unpair_expired(own, NOW) == 0
    assert work.blocks <= MOST_BLOCKS  # what has ended is not looked at again


async def test_a_long_trail_is_left_alone_where_nothing_is_due(own: asyncpg.Pool) -> None:
    await own.execute(
        "INSERT INTO audit (patient_id, at_ms, event) SELECT gen_random_uuid(), $1, 'x' FROM generate_series(1, $2)",
        NOW,
        ROWS,
    )
    await audit_trail.seal(own, NOW)
    await own.execute("VACUUM ANALYZE")
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: days.open_days(own),
        lambda: audit_trail.seal(own, NOW),
        lambda: audit_trail.purge(own, 30, NOW),
        lambda: pack_some(own, NOW),
        lambda: oldest_unsealed_ms(own),
    ]
    for step in steps:
        await step()  # planning it for the first time reads catalogs
        async with touched(own) as work:
            await step()
        assert work.blocks <= MOST_BLOCKS
