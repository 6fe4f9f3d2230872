"""Whom a cloud bridge means: patients by the name under which they log in."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from ddr.store.database.names import account_name
from ddr.store.database.pool import Connection


async def patients(conn: Connection, issuer: str | None, accounts: Collection[str]) -> dict[str, UUID]:
    """The patients of those `accounts` that are known and not disabled, by the account as it was given.

    An account is the subject of a user of the OpenID provider `issuer`; without one the name of a built-in account.
    """
    if issuer is None:
        rows = await conn.fetch(
            "SELECT username AS account, patient_id FROM account JOIN patient USING (patient_id)"
            " WHERE username = ANY($1::text[]) AND disabled_ms IS NULL",
            [account_name(account) for account in accounts],
        )
        found = {row["account"]: row["patient_id"] for row in rows}
        return {account: found[name] for account in accounts if (name := account_name(account)) in found}
    rows = await conn.fetch(
        "SELECT subject AS account, patient_id FROM login_identity JOIN patient USING (patient_id)"
        " WHERE issuer = $1 AND subject = ANY($2::text[]) AND disabled_ms IS NULL",
        issuer, list(accounts),
    )  # fmt: skip
    return {row["account"]: row["patient_id"] for row in rows}
