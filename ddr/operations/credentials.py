"""Keeps the register of machine credentials correct: those in use have a row, those no longer in use have ended."""

from __future__ import annotations

from collections.abc import Container

from cryptography import x509

from ddr.durations import DAY_MS
from ddr.http.core import Core
from ddr.store.credentials import register
from ddr.store.credentials.register import Credential, Kind
from ddr.store.credentials.roles import roles
from ddr.store.database.digest import sha256
from ddr.store.gateways import certificates

UNUSED_MS = DAY_MS  # a token that has left these settings may still be in those of another host


async def follow(core: Core, now_ms: int) -> None:
    """One round: tokens in the settings, roles of the database, certificates admitted by a former version."""
    known = await register.every(core.pool)
    marks = {sha256(token).hex() for token in core.settings.registry_token.split()}
    for mark in sorted(marks):
        await register.meet(core.pool, Kind.REGISTRY, mark, "bfarm", None, now_ms)
    present = {role.name: role for role in await roles(core.pool)}
    for name, role in present.items():
        await register.meet(core.pool, Kind.DATABASE, name, name, role.until_ms, now_ms, own=role.own)
        if role.used:
            await register.note_use(core.pool, Kind.DATABASE, name, now_ms)
    for one in known:
        if one.ended_ms is None and _is_gone(one, marks, present, now_ms):
            await register.note_gone(core.pool, one.kind, one.mark, now_ms)
    ends = {one.mark: one.until_ms for one in known if one.kind is Kind.BRIDGE}
    for row in await certificates.known(core.pool):
        mark = row["certificate_sha256"].hex()
        if row["revoked_ms"] is None and ends.get(mark) is None and (until_ms := _ends_ms(row["certificate"])):
            await register.meet(core.pool, Kind.BRIDGE, mark, row["name"], until_ms, now_ms)


def _is_gone(one: Credential, marks: Container[str], names: Container[str], now_ms: int) -> bool:
    """Whether a token is not in these settings and was not used for UNUSED_MS, or a role is not in the database."""
    if one.kind is Kind.REGISTRY:
        return one.mark not in marks and now_ms - (one.used_ms or one.since_ms) > UNUSED_MS
    return one.kind is Kind.DATABASE and one.mark not in names


def _ends_ms(der: bytes) -> int | None:
    try:
        return int(x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp() * 1000)
    except ValueError:
        return None
