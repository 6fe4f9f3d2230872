"""The kit's only way to the recorder: every request is kept as evidence, and none can write.

Only two checks send what FHIR calls a write, to ids that do not exist, and mark it with `harmless`.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from threading import Thread
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import httpx

from ddr.client.oauth import seconds_told
from ddr.conform.exchange import Exchange
from ddr.conform.masking import Secrets
from ddr.conform.pacing import SOON, Patience
from ddr.conform.target import Identity, Target, TargetError
from ddr.conform.verdict import NotRun
from ddr.reasons import in_words

TIMEOUT = httpx.Timeout(30, connect=10)
MOST_BYTES, MOST_SECONDS = 64 * 1024 * 1024, 300  # of a response
SLOW, MOST_SLOW = 30, 600  # seconds: a longer request is slow; a run spends at most this much on slow requests
BROWSER = "browser"
TRIES = 4
_SEARCH = re.compile(r"/Observation(/_search|/\$[a-z-]+)?$")
SAFE = ("GET", "HEAD", "OPTIONS")
Wrap = Callable[[httpx.BaseTransport, str], httpx.BaseTransport]
T = TypeVar("T")


class Writes(AssertionError):
    """A check tried to send a request that could change something: a fault of the kit."""


class Endless(OSError):
    """A response that is larger, or takes longer, than any check needs."""


def received(answer: httpx.Response, began: float) -> bytes:
    """The body. Raises Endless, httpx.HTTPError."""
    found = bytearray()
    for piece in answer.iter_bytes():
        found += piece
        if len(found) > MOST_BYTES or time.monotonic() - began > MOST_SECONDS:
            raise Endless(f"the answer has more than {MOST_BYTES:,} bytes, or takes more than {MOST_SECONDS} s")
    return bytes(found)


class Wire:
    """Sends requests with or without a DiGA's certificate. `wrap` lets tests intercept (transport, client id)."""

    def __init__(self, target: Target, wrap: Wrap | None = None) -> None:
        self.secrets = Secrets()
        self.exchanges: list[Exchange] = []
        self._target, self._wrap = target, wrap
        self._clients: dict[tuple[str, Path | None], httpx.Client] = {}
        self._open: set[str] = set()
        self.patience: Patience | None = None
        self.slow = 0.0  # seconds of requests without a response, or with a late one

    def prepare(self) -> None:
        """Load every certificate, so that an invalid one does not look like a fault of the recorder. Raises
        TargetError."""
        for identity in self._target.digas:
            try:
                self._client(identity)
            except OSError as error:  # includes ssl.SSLError
                raise TargetError(f"{identity.certificate} with {identity.key}: {error.strerror or error}") from None

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def allow_post(self, *urls: str) -> None:
        """Allow forms to these endpoints of the authorization server."""
        self._open.update(url.partition("?")[0] for url in urls)

    def send(
        self,
        method: str,
        url: str,
        identity: Identity | None = None,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | list[tuple[str, str]] | None = None,
        content: str = "",
        harmless: bool = False,
    ) -> Exchange:
        """Send one request; without a response the Exchange has status 0. Redirects are not followed.

        Repeats it when the recorder asks for a retry soon. Raises NotRun when the run has no patience left for that.
        """
        if not (harmless or method in SAFE or (method == "POST" and self._reads(url))):
            raise Writes(f"{method} {url}")
        sent = dict(headers or {})
        if form is not None:
            content = urlencode(form)
            sent.setdefault("content-type", "application/x-www-form-urlencoded")
        for _ in range(TRIES):
            exchange = self._exchange(method, url, identity, sent, content)
            self.exchanges.append(exchange)
            pause = self._pause(exchange)
            if not pause or self.patience is None:
                break
            self.patience.wait(pause, f"{exchange.told} has to be repeated")
        return exchange

    def in_time(self, work: Callable[[], T]) -> T:
        """The result of `work`, a request with its response: headers may trickle in, or follow endless interim
        responses. Raises Endless, and the errors of `work`. A thread cannot be stopped: one that never ends is
        abandoned."""
        if self.slow >= MOST_SLOW:
            raise Endless(f"the run has already waited {self.slow:.0f} s for missing or late responses")
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        began, late = time.monotonic(), True
        Thread(target=run, daemon=True).start()
        try:
            if not wait([done], MOST_SECONDS).done:
                raise Endless(f"the answer takes more than {MOST_SECONDS} s")
            found, late = done.result(), False
            return found
        finally:
            seconds = time.monotonic() - began
            self.slow += seconds if late or seconds > SLOW else 0

    def _pause(self, exchange: Exchange) -> float:
        """Seconds to wait where requests are limited, which is allowed (OPS-011); 0 for none.

        Searches of Observations also have a Grace-Period; their senders decide how long to wait. The authorization
        server has none: there a refusal is a limit, however long it lasts. Raises NotRun when it does not say how long.
        """
        if exchange.status not in (429, 503) or _SEARCH.search(urlsplit(exchange.url).path):
            return 0.0
        seconds = seconds_told(exchange.headers)
        if re.match(rf"{re.escape(self._target.fhir_base)}([/?]|$)", exchange.url):
            return seconds + 0.1 if seconds is not None and 0 <= seconds <= SOON else 0.0
        if seconds is None and exchange.status == 429:
            raise NotRun(f"{exchange.told}: requests are limited, and the response does not say for how long")
        return 0.0 if seconds is None else max(0.0, seconds) + 0.1

    def _exchange(
        self, method: str, url: str, identity: Identity | None, sent: dict[str, str], content: str
    ) -> Exchange:
        number, name = len(self.exchanges) + 1, identity.client_id if identity else ""
        began = time.monotonic()

        def ask() -> tuple[httpx.Response, bytes]:
            body = content.encode("utf-8") if content or method == "POST" else None
            with self._client(identity).stream(method, url, headers=sent, content=body) as answer:
                return answer, received(answer, began)

        try:
            answer, got = self.in_time(ask)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeEncodeError) as error:
            seconds, text = time.monotonic() - began, f"no answer: {type(error).__name__}: {in_words(error)}"
            return Exchange(number, method, url, name, sent, content, 0, seconds=seconds, error=text)
        found = {key.lower(): value for key, value in answer.headers.items()}
        seconds = time.monotonic() - began
        return Exchange(number, method, url, name, sent, content, answer.status_code, found, got, seconds)

    def _reads(self, url: str) -> bool:
        """Whether a POST there is a search, an operation, or for the authorization server."""
        path = urlsplit(url).path
        return url.partition("?")[0] in self._open or path.endswith("/_search") or "/$" in path

    def _client(self, identity: Identity | None) -> httpx.Client:
        key = (identity.client_id, identity.certificate) if identity else ("", None)
        if key not in self._clients:
            self._clients[key] = self._new(identity, key[0])
        return self._clients[key]

    def browser(self) -> httpx.Client:
        """A browser with its own cookies, for the patient's pages; the caller closes it."""
        return self._new(None, BROWSER)

    def _new(self, identity: Identity | None, name: str) -> httpx.Client:
        context = ssl.create_default_context(cafile=self._target.ca or None)
        if identity:
            context.load_cert_chain(identity.certificate, identity.key, password="")  # never prompt on a terminal
        transport: httpx.BaseTransport = httpx.HTTPTransport(verify=context)
        if self._wrap:
            transport = self._wrap(transport, name)
        return httpx.Client(transport=transport, timeout=TIMEOUT, trust_env=False)
