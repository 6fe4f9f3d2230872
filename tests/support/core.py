"""Cores for tests: with a clock and an allow list that tests can set."""

from __future__ import annotations

from dataclasses import replace

import asyncpg

from ddr.http.core import Core
from ddr.miv.loader import load_catalog
from ddr.oauth.keys import Keys
from ddr.settings import Settings
from ddr.store.database.ids import IdCipher
from ddr.store.database.sealing import key_encryption_key
from ddr.store.database.secrets import load_secrets
from tests.support.clock import Clock
from tests.support.trust import FakeTrust


async def core_on(pool: asyncpg.Pool, settings: Settings, clock: Clock, trust: FakeTrust) -> Core:
    """A Core with the real catalogue and its database's secrets. It cannot sign tokens."""
    secrets = await load_secrets(pool, key_encryption_key(settings))
    return Core(
        settings=settings,
        pool=pool,
        catalog=load_catalog(settings.miv_packages, settings.miv),
        ids=IdCipher(secrets["resource-ids"]),
        secrets=secrets,
        registry=trust,
        signer=None,
        clock=clock,
        steer=clock,
    )


async def with_signer(core: Core) -> Core:
    """`core` with its database's signing keys; creates the first one if there is none."""
    return replace(core, signer=await Keys.load(core.pool, key_encryption_key(core.settings, make=True), core.clock()))
