"""The header Idempotency-Key: a request that is sent again with its key gets the answer that it had.

Every operation of this API is idempotent without it; the key only keeps "accepted" from turning into "duplicate". It is
noted beside the operation, not within its transaction: after a crash in between, the repeated request is done again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg

from ddr.gateway.fields import KEY
from ddr.gateway.problem import Problem, conflict
from ddr.http.asgi import JSON, Reply
from ddr.store.gateways import requests as store

PATIENCE_MS = 60_000  # the first request is given up after this


async def once(
    pool: asyncpg.Pool, patient_id: UUID, key: str, what: bytes, now_ms: int, work: Callable[[], Awaitable[Reply]]
) -> Reply:
    """The reply of `work`, or the one that was given to the same request before.

    `what` is the request: method, path and body. Raises Problem 422 for a malformed key, 409 when the key was used for
    another request or that is still being worked on. A request that failed may be sent again with its key.
    """
    if not KEY.fullmatch(key):
        raise Problem(422, "invalid-key", "Idempotency-Key must have 1 to 64 characters of A-Z a-z 0-9 . _ ~ -")
    digest = hashlib.sha256(what).digest()
    known = await store.claim(pool, patient_id, key, digest, now_ms, now_ms - PATIENCE_MS)
    if known is not None:
        return _repeated(known, digest)
    try:
        reply = await work()
    except BaseException:
        await store.release(pool, patient_id, key)
        raise
    await store.keep(pool, patient_id, key, reply.status, reply.body)
    return reply


def _repeated(known: store.Row, digest: bytes) -> Reply:
    if known["request_sha256"] != digest:
        raise conflict("This Idempotency-Key was used for another request", "repeated-key")
    if known["status"] is None:
        raise Problem(409, "in-use", "The request with this Idempotency-Key is still being worked on")
    content_type = JSON if known["answer"] else None
    return Reply(known["status"], known["answer"], content_type, (("cache-control", "no-store"),))
