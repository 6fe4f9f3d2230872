"""The OpenID provider as it describes itself: its endpoints and its keys (OpenID Connect Discovery 1.0, RFC 7517).

There is one per worker; nothing is stored. Documents are read when they are needed and kept for an hour. While the
provider cannot be reached, what was read before is used for up to a day, so that gateways can go on writing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, import_key

from ddr.answers import ACCEPTED, BodyRefused, limited_body
from ddr.durations import HOUR_MS, MINUTE_MS
from ddr.identity.errors import ProviderUnavailable
from ddr.proxies import client_arguments
from ddr.reasons import in_words
from ddr.settings import Settings
from ddr.store.database.clock import steady_ms

TIMEOUT = httpx.Timeout(10)
LONGEST_SECONDS = 20  # for a whole answer, however slowly it arrives
LARGEST_BYTES = 2**20  # of an answer, unpacked; tokens and key sets have some thousands
PATIENCE_SECONDS = 2  # for a new answer while the former one is still usable
FRESH_MS = HOUR_MS
GOOD_MS = 24 * FRESH_MS
AGAIN_MS = MINUTE_MS  # anybody can send a token that makes the keys be read again: not more often than this
LOGOUT = "end_session_endpoint"  # the only endpoint that a provider need not have

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Description:
    """What the provider published, read at `read_ms`; at `read_steady_ms` by a clock that cannot be set."""

    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str | None
    names_itself: bool  # in the answer to the browser (RFC 9207)
    keys: KeySet
    read_ms: int
    read_steady_ms: int


class Provider:
    """The provider `settings.oidc_issuer` and this recorder's account there."""

    def __init__(
        self, settings: Settings, clock: Callable[[], int], transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.issuer = settings.oidc_issuer
        self.client_id = settings.oidc_client_id
        self.client_secret = settings.oidc_client_secret
        self.audience = settings.oidc_audience
        self.access_token_type = settings.oidc_access_token_type
        self.represents_claim = settings.oidc_represents_claim
        self.http = httpx.AsyncClient(
            headers={"accept": "application/json", "accept-encoding": ACCEPTED},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # no cookie may reach another patient's login
            verify=_trust(settings.oidc_ca),
            timeout=TIMEOUT,
            transport=transport,
            **client_arguments(self.issuer),
        )
        self._clock = clock
        self._known: Description | None = None
        self._tried_ms = -AGAIN_MS
        self._reading: asyncio.Task[None] | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port of the issuer."""
        parts = urlsplit(self.issuer)
        return f"{parts.scheme}://{parts.netloc}"

    async def description(
        self, kid: str | None = None, doubted: Description | None = None, *, at_once: bool = False
    ) -> Description:
        """What the provider publishes, read again when it is old, lacks the key `kid`, or is the `doubted` one;
        `at_once` even if the last reading was just now.

        If the former answer still serves, the caller waits only a moment for the new one: otherwise a provider that
        hangs would block all gateways. Raises ProviderUnavailable when there is no usable answer.
        """
        if (not self._suffices(kid) or self._known is doubted) and (reading := self._read_again(at_once)) is not None:
            serves = self._good() and self._knows(kid)
            await asyncio.wait({reading}, timeout=PATIENCE_SECONDS if serves else None)
            if reading.done() and not reading.cancelled():
                reading.result()
        if self._known is None or not self._good():
            raise ProviderUnavailable
        return self._known

    def _suffices(self, kid: str | None) -> bool:
        known = self._known
        return known is not None and abs(self._clock() - known.read_ms) < FRESH_MS and self._knows(kid)

    def _good(self) -> bool:
        """Whether the former answer is still usable. Setting a clock back makes it no younger."""
        known = self._known
        if known is None:
            return False
        return max(self._clock() - known.read_ms, steady_ms() - known.read_steady_ms) < GOOD_MS

    def _knows(self, kid: str | None) -> bool:
        return kid is None or (self._known is not None and any(key.kid == kid for key in self._known.keys.keys))

    def _read_again(self, at_once: bool) -> asyncio.Task[None] | None:
        """The reading in progress, or a new one; None when the last one was too recent."""
        if self._reading is None or self._reading.done():
            if not at_once and 0 <= self._clock() - self._tried_ms < AGAIN_MS:
                return None
            self._reading = asyncio.create_task(self._replace())
            self._reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._reading

    async def _replace(self) -> None:
        self._tried_ms = self._clock()
        try:
            self._known = await self._read()
        except ProviderUnavailable as error:
            log.warning("login.provider_away", extra={"fault": str(error)})
            if self._known is None:
                self._tried_ms -= AGAIN_MS  # nobody can log in at all, so the next request may try at once
                raise

    async def _read(self) -> Description:
        found = await self.get_json(self.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self.issuer:
            raise ProviderUnavailable("issuer")
        listed = (await self.get_json(_address(found, "jwks_uri"))).get("keys")
        keys = [key for jwk in listed if (key := _signing_key(jwk))] if isinstance(listed, list) else []
        if not keys:  # a set without any key is the provider's fault, and no reason to drop the former keys
            raise ProviderUnavailable("keys")
        return Description(
            authorization_endpoint=_address(found, "authorization_endpoint"),
            token_endpoint=_address(found, "token_endpoint"),
            end_session_endpoint=_address(found, LOGOUT) if found.get(LOGOUT) is not None else None,
            names_itself=found.get("authorization_response_iss_parameter_supported") is True,
            keys=KeySet(keys),
            read_ms=self._clock(),
            read_steady_ms=steady_ms(),
        )

    async def close(self) -> None:
        """Close the connections to the provider."""
        if self._reading is not None:
            self._reading.cancel()
        await self.http.aclose()

    async def get_json(self, url: str) -> Mapping[str, Any]:
        """The JSON object at `url`. Raises ProviderUnavailable."""
        return await self.json_of(self.http.build_request("GET", url))

    async def json_of(self, request: httpx.Request, *statuses: int) -> Mapping[str, Any]:
        """The JSON object that answers `request` with 200 or one of `statuses`. Raises ProviderUnavailable."""
        try:
            async with (
                asyncio.timeout(LONGEST_SECONDS),
                aclosing(await self.http.send(request, stream=True)) as response,
            ):
                content = json.loads(await limited_body(response, LARGEST_BYTES))
        except BodyRefused as refused:
            raise ProviderUnavailable(f"no answer: it {refused}") from None
        except (httpx.HTTPError, ssl.SSLError, TimeoutError, ValueError, RecursionError) as error:
            raise ProviderUnavailable(f"no answer: {in_words(error)}") from None
        if response.status_code not in (200, *statuses) or not isinstance(content, dict):
            raise ProviderUnavailable(f"status {response.status_code}")
        return content


def _address(found: Mapping[str, Any], name: str) -> str:
    """An endpoint; only https is used."""
    address = found.get(name)
    with suppress(httpx.InvalidURL, ValueError):
        if isinstance(address, str) and httpx.URL(address).host:
            parts = urlsplit(address)
            if parts.scheme == "https" and parts.port != 0:
                return address
    raise ProviderUnavailable(name)


def _signing_key(jwk: Any) -> Key | None:
    """A key for signatures; keys for another use or of an unknown type are skipped (RFC 7517 section 5)."""
    try:
        return None if jwk.get("use", "sig") != "sig" else import_key(jwk)
    except (JoseError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _trust(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(ca)
    return context
