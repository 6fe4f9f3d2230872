"""Shared by the commands about patients: finds the patient of an account."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from ddr.cli.errors import CommandError
from ddr.settings import Settings
from ddr.store.patients import administration, identities

ACCOUNT = "user name, or subject at the OpenID provider"


async def the_patient(pool: asyncpg.Pool, settings: Settings, account: str) -> UUID:
    """The one patient of this account; among users of several providers, the one at `oidc_issuer`. Raises CommandError.

    A provider that has moved to another URL may know its users by the same subjects.
    """
    found = await administration.by_account(pool, account)
    if len(found) > 1 and (here := await identities.find(pool, settings.oidc_issuer, account)):
        return here
    if len(found) != 1:
        raise CommandError(f"{'no' if not found else 'more than one'} account is called {account!r}")
    return found[0]
