"""Who a gateway writes for: the patient of its bearer token (RFC 6750), one of ours or one of the OpenID provider's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar
from uuid import UUID

from ddr.gateway.problem import Problem, unauthorized
from ddr.http.address import client_network
from ddr.http.asgi import Scope, header
from ddr.http.core import Core
from ddr.identity.errors import LoginRefused, ProviderUnavailable
from ddr.identity.tokens import read_access_token
from ddr.store.database.digest import sha256
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.patients import identities

REMEMBER_MS = 5_000  # a revoked token is refused after this time at the latest
REMEMBERED = 10_000
WINDOW_MS = 60_000
FAILURES = 30  # look-ups of unknown tokens that one address may cause per window

V = TypeVar("V")


class Recent(Generic[V]):
    """Values that are forgotten after a time, the oldest first when there are too many."""

    def __init__(self, keep_ms: int, clock: Callable[[], int]) -> None:
        self.keep_ms = keep_ms
        self.clock = clock
        self.entries: OrderedDict[object, tuple[int, V]] = OrderedDict()

    def get(self, key: object) -> tuple[int, V] | None:
        """(end of its time, value), or None when it is unknown or forgotten."""
        entry = self.entries.get(key)
        return entry if entry and entry[0] > self.clock() else None

    def put(self, key: object, value: V, until_ms: int | None = None) -> None:
        """Remember `value`, until the end of its time when that is already known."""
        self.entries[key] = (self.clock() + self.keep_ms if until_ms is None else until_ms, value)
        self.entries.move_to_end(key)
        if len(self.entries) > REMEMBERED:
            self.entries.popitem(last=False)


class Gatekeeper:
    """Maps tokens to patients with few look-ups; one per worker.

    Unknown, revoked and malformed tokens get the same answer. An address that tries many unknown ones is told to wait
    before the database is asked again, while tokens that work go on working.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.patients: Recent[UUID | None] = Recent(REMEMBER_MS, core.clock)
        self.failures: Recent[int] = Recent(WINDOW_MS, core.clock)

    async def patient(self, scope: Scope) -> UUID:
        """The patient of the request's token. Raises Problem 401 or 429."""
        token = _token(scope)
        if token is None:
            raise unauthorized(token_given=False)
        known = self.patients.get(sha256(token))
        patient_id = known[1] if known else await self._look_up(token, scope)
        if patient_id is None:
            raise unauthorized(token_given=True)
        return patient_id

    async def _look_up(self, token: str, scope: Scope) -> UUID | None:
        address = client_network(scope)
        until_ms, count = self.failures.get(address) or (None, 0)
        if until_ms is not None and count >= FAILURES:
            wait = -((self.core.clock() - until_ms) // 1000)
            raise Problem(
                429, "throttled", "Too many requests with unknown tokens", headers=(("retry-after", str(wait)),)
            )
        patient_id = await self._owner(token)
        self.patients.put(sha256(token), patient_id)
        if patient_id is None:
            self.failures.put(address, count + 1, until_ms)
        return patient_id

    async def _owner(self, token: str) -> UUID | None:
        """The patient of a token that is asked about for the first time, or again after a while."""
        core = self.core
        if token.count(".") != 2 or core.identity is None or not core.identity.audience:
            return await gateway_tokens.find(core.pool, sha256(token))
        now_ms = core.clock()
        try:
            subject = await read_access_token(core.identity, token, now_ms)
        except LoginRefused:
            return None
        except ProviderUnavailable:
            raise Problem(503, "overloaded", "Try again later", headers=(("retry-after", "30"),)) from None
        return await identities.patient_of(core.pool, core.identity.issuer, subject, now_ms)


def _token(scope: Scope) -> str | None:
    scheme, _, token = (header(scope, "authorization") or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
