"""Whom a cloud bridge refers to: patients by the name under which they log in."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from ddr.store.database.names import account_name
from ddr.store.database.pool import Connection
from ddr.store.database.spreading import is_spread

_ABLE = "disabled_ms IS NULL"


async def patients(conn: Connection, issuer: str | None, accounts: Collection[str]) -> dict[str, UUID]:
    """The patients of those `accounts` that are known and not disabled, by the account as given.

    An account is the subject of a user of the OpenID provider `issuer`, or without one the name of a built-in account.
    """
    if issuer is None:
        names = {account: account_name(account) for account in accounts}
        found = await _found(conn, "username", "account", "username = ANY($1::text[])", [*names.values()])
        return {account: found[name] for account, name in names.items() if name in found}
    which = "issuer = $1 AND subject = ANY($2::text[])"
    return await _found(conn, "subject", "login_identity", which, issuer, list(accounts))


async def _found(conn: Connection, column: str, table: str, which: str, *arguments: object) -> dict[str, UUID]:
    """Uses two statements where patients are spread, because the directory is on another server; one otherwise."""
    if not is_spread(conn):
        able = f"SELECT {column}, patient_id FROM {table} JOIN patient USING (patient_id) WHERE {which} AND {_ABLE}"  # noqa: S608
        return {row[0]: row[1] for row in await conn.fetch(able, *arguments)}
    known = await conn.fetch(f"SELECT {column}, patient_id FROM {table} WHERE {which}", *arguments)  # noqa: S608
    ids = [row[1] for row in known]
    rows = await conn.fetch(f"SELECT patient_id FROM patient WHERE patient_id = ANY($1::uuid[]) AND {_ABLE}", ids)  # noqa: S608
    able_ids = {row[0] for row in rows}
    return {row[0]: row[1] for row in known if row[1] in able_ids}
