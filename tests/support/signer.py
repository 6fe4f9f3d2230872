"""A Core that can sign tokens, for tests of rooms that a worker gives one to."""

from __future__ import annotations

from dataclasses import replace

from ddr.http.core import Core
from ddr.oauth.keys import Keys
from ddr.store.database.sealing import key_encryption_key


async def with_signer(core: Core) -> Core:
    """`core` with the signing keys of its database; the first one is made when there is none."""
    return replace(core, signer=await Keys.load(core.pool, key_encryption_key(core.settings, make=True), core.clock()))
