"""The header Idempotency-Key: a request that is repeated with its key gets the same answer.

Every operation that takes a key is idempotent without it, except for a former value of a single measurement that comes
again; the key keeps "accepted" from turning into "duplicate". Operations for tokens take none, because no token is
stored. An answer is stored beside the operation, not in its transaction: after a crash in between, the repeated request
is processed again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import asyncpg

from ddr.aside import LARGE_BYTES, aside
from ddr.gateway.fields import KEY
from ddr.gateway.problem import Problem, conflict
from ddr.http.asgi import JSON, NO_STORE, Reply, Scope, header, joined_header
from ddr.http.core import Core
from ddr.reasons import kind_of
from ddr.store.database.faults import FAULTS
from ddr.store.gateways import requests as store

NAME = "idempotency-key"
RENEW_SECONDS = 2.0
LOOK_SECONDS = 0.25
PATIENCE_SECONDS = store.LEASE_MS / 1000 + 2  # for the answer to the first request, or the end of its lease
RETRY_SECONDS = "5"

log = logging.getLogger(__name__)


async def once(
    core: Core, owner: UUID | bytes, scope: Scope, body: bytes, work: Callable[[], Awaitable[Reply]]
) -> Reply:
    """The reply of `work`, or the one that the same request got before; without the header, just `work`.

    `owner` is the patient, or the SHA-256 of a bridge's certificate. While the first request is in progress, its answer
    is waited for; if its worker died, the work is done again. Raises Problem 422 for a malformed key, 409 when the key
    was used for another request, or, with Retry-After, when the first request takes long. A failed request may be
    repeated with its key.
    """
    text = joined_header(scope, NAME)
    if text is None:
        return await work()
    if text.startswith('"') and text.endswith('"'):  # the form of draft-ietf-httpapi-idempotency-key-header: a String
        text = text[1:-1]
    if not KEY.fullmatch(text):
        raise Problem(422, "invalid-key", "Idempotency-Key must have 1 to 64 characters of A-Z a-z 0-9 . _ ~ -")
    key, mark = store.Key(owner, text), secrets.token_bytes(16)
    digest = await aside(len(body) > LARGE_BYTES, _digest, scope, body)
    known = await _claimed(core, key, digest, mark)
    if known is not None:
        return known
    try:
        async with _held(core.pool, key, mark):
            reply = await work()
    except BaseException:
        with suppress(*FAULTS):  # the lease expires by itself
            await store.release(core.pool, key, mark)
        raise
    try:
        await store.keep(core.pool, key, mark, reply.status, reply.content_type, reply.body)
    except FAULTS as error:  # the work is done: a later "duplicate" is no reason to answer "failed" now
        log.warning("idempotency.not_kept", extra={"error": kind_of(error)})
    return reply


def _digest(scope: Scope, body: bytes) -> bytes:
    """The digest of what defines the request, including the requested format of the answer."""
    accept = header(scope, "accept") or ""
    parts = (scope["method"].encode(), scope["path"].encode(), scope.get("query_string", b""), accept.encode())
    return hashlib.sha256(b"\n".join((*parts, body))).digest()


async def _claimed(core: Core, key: store.Key, digest: bytes, mark: bytes) -> Reply | None:
    """None when the work is ours, otherwise the answer to the same request. Raises Problem 409."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE_SECONDS
    while True:
        known = await store.claim(core.pool, key, digest, mark, core.clock())
        if known is None:
            return None
        if known["request_sha256"] != digest:
            raise conflict("This Idempotency-Key was used for another request", "repeated-key")
        if known["status"] is not None:
            content_type = (known["content_type"] or JSON) if known["answer"] else None
            return Reply(known["status"], known["answer"], content_type, NO_STORE)
        if loop.time() > until:
            detail = "The request with this Idempotency-Key is still being processed"
            raise Problem(409, "in-use", detail, headers=(("retry-after", RETRY_SECONDS),))
        await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def _held(pool: asyncpg.Pool, key: store.Key, mark: bytes) -> AsyncIterator[None]:
    """The time of the work, during which its lease does not expire."""

    async def renewing() -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with suppress(*FAULTS):
                await store.renew(pool, key, mark)

    task = asyncio.create_task(renewing())
    try:
        yield
    finally:
        task.cancel()
