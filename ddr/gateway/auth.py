"""Who a gateway writes for: the patient of its bearer token (RFC 6750), one of ours or one of the OpenID provider's.

The token is looked up in the database on every request, so a token that has ended has ended everywhere. Only failures
are limited: an address that tries many unknown tokens is told to wait, and its other users notice nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from uuid import UUID

from ddr.gateway.problem import Problem, unauthorized, unavailable
from ddr.http.address import client_network
from ddr.http.asgi import Scope, joined_header
from ddr.http.core import Core
from ddr.identity.errors import LoginRefused, ProviderUnavailable
from ddr.identity.tokens import read_access_token
from ddr.ratelimit import UNKNOWN_TOKENS, limited, lowercase
from ddr.remembering import Newest
from ddr.store.database.digest import sha256
from ddr.store.database.faults import Fault
from ddr.store.gateways import tokens as gateway_tokens
from ddr.store.patients import identities

PROVIDER_AWAY = Fault("unavailable", "The login provider cannot be reached at the moment", 30)
REMEMBER_MS = 5_000  # for a token that never existed, and for the result of checking a provider's signature
REMEMBERED = 10_000
WINDOW_MS = 60_000
FAILURES = 30  # unknown tokens of one address in a window that are answered as such; further ones are told to wait

V = TypeVar("V")


class Recent(Generic[V]):
    """Values that are forgotten after a time."""

    def __init__(self, keep_ms: int, clock: Callable[[], int]) -> None:
        self.keep_ms = keep_ms
        self.clock = clock
        self.entries: Newest[object, tuple[int, V]] = Newest(REMEMBERED)

    def get(self, key: object) -> tuple[int, V] | None:
        """(end of its time, value), or None when it is unknown or forgotten."""
        entry, now_ms = self.entries.get(key), self.clock()
        # A time longer than any that is given comes from a clock that was set back.
        return entry if entry and now_ms < entry[0] <= now_ms + self.keep_ms else None

    def put(self, key: object, value: V, until_ms: int | None = None) -> None:
        """Remember `value`, until `until_ms` if that is already known."""
        self.entries.put(key, (self.clock() + self.keep_ms if until_ms is None else until_ms, value))


class Gatekeeper:
    """Maps tokens to patients; one per worker. Unknown, ended and malformed tokens get the same answer."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.unknown: Recent[None] = Recent(REMEMBER_MS, core.clock)  # random texts that cannot become tokens later
        self.subjects: Recent[str] = Recent(REMEMBER_MS, core.clock)  # of a provider's tokens with a valid signature
        self.failures: Recent[int] = Recent(WINDOW_MS, core.clock)

    async def patient(self, scope: Scope) -> UUID:
        """The patient of the request's token. Raises Problem 401, 429 or 503."""
        token = bearer_token(scope)
        if token is None:
            raise unauthorized(token_given=False)
        patient_id = await self._owner(token)
        if patient_id is None:
            self.failed(scope)
            raise unauthorized(token_given=True)
        return patient_id

    def failed(self, scope: Scope) -> None:
        """Count a token or code that does not exist. Raises Problem 429 when its address had too many of them."""
        network = client_network(scope)
        until_ms, count = self.failures.get(network) or (None, 0)
        self.failures.put(network, count + 1, until_ms)
        if until_ms is not None and count >= FAILURES:
            wait = -((self.core.clock() - until_ms) // 1000)
            limit = lowercase(limited(UNKNOWN_TOKENS, wait, FAILURES, WINDOW_MS // 1000))
            headers = (("retry-after", str(wait)), *limit)
            raise Problem(429, "throttled", "Too many requests with unknown tokens", headers=headers)

    async def _owner(self, token: str) -> UUID | None:
        core, digest, now_ms = self.core, sha256(token), self.core.clock()
        if token.count(".") == 2 and core.identity is not None and core.identity.audience:
            return await self._user(token, digest, now_ms)
        if self.unknown.get(digest):
            return None
        holder = await gateway_tokens.find(core.pool, digest, now_ms)
        if holder is None:
            self.unknown.put(digest, None)
            return None
        if not holder.good:
            return None
        await gateway_tokens.note_use(core.pool, digest, holder, now_ms)
        return holder.patient_id

    async def _user(self, token: str, digest: bytes, now_ms: int) -> UUID | None:
        """The patient of the user for whom the OpenID provider signed this access token."""
        assert self.core.identity is not None
        known = self.subjects.get(digest)
        try:
            subject = known[1] if known else await read_access_token(self.core.identity, token, now_ms)
        except LoginRefused:
            return None
        except ProviderUnavailable:
            raise unavailable(PROVIDER_AWAY) from None
        if not known:
            self.subjects.put(digest, subject)
        return await identities.patient_of(self.core.pool, self.core.identity.issuer, subject, now_ms)


def bearer_token(scope: Scope) -> str | None:
    """The token of the Authorization header, or None."""
    scheme, _, token = (joined_header(scope, "authorization") or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
