"""A request to the gateway API: its body is received first, and only then it asks for its turn."""

from __future__ import annotations

import re
from typing import Any

from ddr.fhir.bounds import TooMuch
from ddr.fhir.strict_json import NotJson, read, read_exact, whole, with_digits
from ddr.gateway.problem import Problem
from ddr.http.admission import Held
from ddr.http.asgi import Receive, Scope, media_type
from ddr.http.bodies import Bodies
from ddr.http.body import BodyError, read_body
from ddr.http.core import Core

_CODES = {400: "malformed", 408: "too-slow", 413: "too-large", 415: "unsupported-media-type"}


class Request:
    """A request of `whose`: a patient, the SHA-256 of a bridge's certificate, or an address; at most `most` bytes."""

    def __init__(
        self, core: Core, bodies: Bodies, scope: Scope, receive: Receive, whose: object, most: int | None = None
    ) -> None:
        self.scope = scope
        self._most = core.settings.gateway_max_body_bytes if most is None else most
        self._core, self._bodies, self._receive, self._whose = core, bodies, receive, whose

    async def read(self) -> bytes:
        """The whole body, decompressed. Raises BodyError, NoTurn and ClientGone."""
        with self._bodies.coming(self._whose) as coming:
            return await read_body(self.scope, self._receive, self._most, coming.grow)

    async def body(self, wanted: str) -> bytes:
        """The body, which is of the media type `wanted`. Raises Problem 400, 408, 413, 415, NoTurn, ClientGone."""
        if media_type(self.scope) != wanted:
            raise Problem(415, "unsupported-media-type", f"Content-Type must be {wanted}")
        try:
            return await self.read()
        except BodyError as error:
            raise Problem(error.status, _CODES[error.status], str(error), headers=error.headers) from None

    def turn(self) -> Held:
        """The time during which it is processed. Raises NoTurn."""
        return self._core.admission.turn("ingestion", self._whose)


# A decimal with a trailing zero or an exponent: a float would print other digits than were sent (1e2 as 100.0).
_DIGITS = re.compile(rb"\.[0-9]*0\s*[,}\]]|[0-9][eE][+-]?[0-9]")


def parsed(body: bytes, exact: bool = False) -> Any:
    """The JSON in a body; with `exact`, decimals that a float would shorten are Decimal. Raises Problem 400 or 413.

    A number too large for a double is BEYOND: it makes its item bad, but no others.
    """
    try:
        found = read(body)  # stricter in everything but digits
        return read_exact(body, with_digits, whole) if exact and _DIGITS.search(body) else found
    except TooMuch as error:
        raise Problem(413, "too-large", str(error)) from None
    except NotJson as error:
        raise Problem(400, "malformed", f"The body is not valid JSON: {error}") from None
