"""Keys that sign access tokens: ES256 (RFC 7518), published as JWKS, rotated with overlap, shared by all workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
from joserfc import jwt
from joserfc.jwk import ECKey

from ddr.http.tokens import ALGORITHM
from ddr.settings import Settings
from ddr.store.audit.trail import Event, record
from ddr.store.authorization import keys as store
from ddr.store.database.pool import Connection
from ddr.store.database.sealing import KeyRing, key_encryption_key, opened, seal, unseal
from ddr.store.database.secrets import forget_lost, lost_ones, reseal, sealed_ones_exist

FOLLOW_SECONDS = 60  # how often a worker reads the keys again
LEAD_MS = 5 * FOLLOW_SECONDS * 1000  # a new key is published this long before it signs: every worker has it by then


@dataclass(frozen=True)
class SigningKey:
    """One key pair, and the time from which it signs."""

    private: ECKey
    public: ECKey
    signs_from_ms: int


class Keys:
    """The signing keys as this worker last read them."""

    def __init__(self, ring: KeyRing, keys: Mapping[str, SigningKey]) -> None:
        self._ring = ring
        self._keys = keys

    @classmethod
    async def load(cls, pool: asyncpg.Pool, ring: KeyRing, now_ms: int) -> Keys:
        """The keys of the database; the first one is created if there is none. Raises SettingsError for a wrong key."""
        await store.add_first(pool, new_key(ring, now_ms))
        keys = cls(ring, {})
        await keys.read(pool, now_ms)
        return keys

    async def read(self, conn: Connection, now_ms: int) -> None:
        """Read the keys again, to learn of new ones and drop retired ones. Raises SettingsError for a wrong key."""
        rows = await store.load(conn, now_ms)
        self._keys = {row.kid: self._keys.get(row.kid) or _open(self._ring, row) for row in rows}

    def sign(self, claims: Mapping[str, Any], typ: str, now_ms: int) -> str:
        """A JWT of `claims` by the newest key that signs by now; on a clock that was set back, by the oldest one."""
        by_age = sorted(self._keys.items(), key=lambda item: item[1].signs_from_ms)
        kid, key = ([item for item in by_age if item[1].signs_from_ms <= now_ms] or by_age[:1])[-1]
        return jwt.encode({"alg": ALGORITHM, "typ": typ, "kid": kid}, dict(claims), key.private)

    def public_key(self, kid: str) -> ECKey | None:
        """The public key with that name, or None when no valid token can name it."""
        key = self._keys.get(kid)
        return key.public if key else None

    def age_ms(self, now_ms: int) -> int:
        """How long the key that signs now has been doing so."""
        since = [key.signs_from_ms for key in self._keys.values() if key.signs_from_ms <= now_ms]
        return now_ms - max(since, default=now_ms)

    def jwks(self) -> dict[str, Any]:
        """The JWK Set document (RFC 7517) of all public keys."""
        return {"keys": [key.public.as_dict(private=False) for key in self._keys.values()]}


async def opening_key(pool: asyncpg.Pool, settings: Settings) -> KeyRing:
    """The key-encryption keys; a new one is only made for a database without sealed data. Raises SettingsError."""
    return key_encryption_key(settings, make=not (await store.exist(pool) or await sealed_ones_exist(pool)))


def new_key(ring: KeyRing, signs_from_ms: int) -> store.StoredKey:
    """A new P-256 key pair named by its thumbprint (RFC 7638), with the private part sealed."""
    key = ECKey.generate_key("P-256")
    kid = key.thumbprint()
    public = {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": ALGORITHM}
    return store.StoredKey(kid, public, seal(ring, key.as_pem(private=True), kid), signs_from_ms)


async def rotate(pool: asyncpg.Pool, ring: KeyRing, access_token_seconds: int, now_ms: int) -> str:
    """Replace all keys by a new one and return its name.

    It signs once every worker knows it; the others stay published until the last token that they signed has expired.
    Raises SettingsError when `ring` does not open the current keys, because no worker could open the new one.
    """
    await Keys.load(pool, ring, now_ms)
    key = new_key(ring, now_ms + LEAD_MS)
    others_retire_ms = key.signs_from_ms + FOLLOW_SECONDS * 1000 + access_token_seconds * 1000
    async with pool.acquire() as conn, conn.transaction():
        await store.replace(conn, key, others_retire_ms, now_ms)
        await Keys(ring, {}).read(conn, now_ms)  # everything may have been sealed under another key since it was read
        await record(conn, Event.SIGNING_KEY_ROTATED, now_ms, detail={"kid": key.kid})
    return key.kid


async def reseal_all(pool: asyncpg.Pool, ring: KeyRing, now_ms: int) -> tuple[int, int]:
    """Seal everything under the current key-encryption key; returns how many signing keys and server-wide secrets.

    Nothing that is in use changes: recorders that know both keys continue. Raises SettingsError, and changes nothing,
    when one of the keys is missing.
    """
    async with pool.acquire() as conn, conn.transaction():
        rows = await store.lock_all(conn)
        for row in rows:
            await store.reseal(conn, row.kid, seal(ring, unseal(ring, row.sealed_private, row.kid), row.kid))
        secrets = await reseal(conn, ring)
        await record(conn, Event.ENCRYPTION_KEY_ROTATED, now_ms, detail={"keys": len(rows), "secrets": secrets})
    return len(rows), secrets


async def opens_all(pool: asyncpg.Pool, ring: KeyRing) -> bool:
    """True when there are signing keys and secrets, and `ring` opens each of them: nothing is lost."""
    async with pool.acquire() as conn, conn.transaction():
        rows = await store.lock_all(conn)
        return (
            bool(rows)
            and all(opened(ring, row.sealed_private, row.kid) is not None for row in rows)
            and not await lost_ones(conn, ring)
        )


async def replace_lost(pool: asyncpg.Pool, ring: KeyRing, now_ms: int) -> tuple[str, int]:
    """When the key-encryption key is lost: destroy what nobody can open, and make a signing key under the current one.

    Returns its name, and the number of server-wide secrets that are lost. Issued access tokens end with the signing
    keys. If the secret of refresh tokens is lost, DiGA must pair anew.
    """
    key = new_key(ring, now_ms)
    async with pool.acquire() as conn, conn.transaction():
        await store.replace_all(conn, key)
        lost = await forget_lost(conn, ring)
        await record(conn, Event.SIGNING_KEYS_REPLACED, now_ms, detail={"kid": key.kid, "secrets": lost})
    return key.kid, lost


def _open(ring: KeyRing, row: store.StoredKey) -> SigningKey:
    private = ECKey.import_key(unseal(ring, row.sealed_private, row.kid).decode())
    return SigningKey(private, ECKey.import_key(row.public_jwk), row.signs_from_ms)
