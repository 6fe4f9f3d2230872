"""Whom a cloud bridge means: patients by the name under which they log in."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from ddr.store.database.pool import Connection


async def patients(conn: Connection, issuer: str | None, accounts: Collection[str]) -> dict[str, UUID]:
    """The patients of those `accounts` that are known.

    An account is the subject of a user of the OpenID provider `issuer`; without one the name of a built-in account.
    """
    if issuer is None:
        rows = await conn.fetch(
            "SELECT username AS account, patient_id FROM account WHERE username = ANY($1::text[])", list(accounts)
        )
    else:
        rows = await conn.fetch(
            "SELECT subject AS account, patient_id FROM login_identity"
            " WHERE issuer = $1 AND subject = ANY($2::text[])",
            issuer, list(accounts),
        )  # fmt: skip
    return {row["account"]: row["patient_id"] for row in rows}
