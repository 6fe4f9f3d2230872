"""What the commands about patients share: the patient of an account."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg

from ddr.cli.errors import CommandError
from ddr.settings import Settings
from ddr.store.patients import administration

ACCOUNT = "user name, or subject at the OpenID provider"

Action = Callable[[argparse.Namespace, Settings, asyncpg.Pool], Awaitable[None]]


async def the_patient(pool: asyncpg.Pool, account: str) -> UUID:
    """The one patient of this account. Raises CommandError."""
    found = await administration.by_account(pool, account)
    if len(found) != 1:
        raise CommandError(f"{'no' if not found else 'more than one'} account is called {account!r}")
    return found[0]
