"""The error of the gateway API: a problem document (RFC 9457) with a code for machines and a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from ddr.call import refused_unless_told
from ddr.fhir.outages import HEADER, MEMBER, Outage
from ddr.http.asgi import PROBLEM, Reply, json_reply
from ddr.http.guard import of_load
from ddr.ratelimit import lowercase
from ddr.store.database.faults import Fault

# What is refused with one of these may be accepted later: the cause passes with time, or as the text says.
PASSING = frozenset(
    ("busy", "future", "in-use", "internal", "not-found", "overloaded", "planned-maintenance", "throttled",
     "unauthorized", "unavailable", "unknown-account", "unknown-device", "unknown-measurement", "unknown-sensor")
)  # fmt: skip

REFUSAL = "A valid gateway token is required"


@dataclass
class Problem(Exception):
    """A request, or one item of a batch, that cannot be accepted. `detail` is shown to the gateway and names no person.

    `code` is stable and listed in openapi.json; `field` is the path of the faulty member, e.g. "components[1].unit".
    """

    status: int
    code: str
    detail: str
    field: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    outage: Outage | None = None

    def reply(self) -> Reply:
        """The whole answer, for a request that failed as a whole."""
        refused_unless_told(self.code)
        content = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "retry": self.retry,
        }
        why = {MEMBER: self.outage} if self.outage else {}
        headers = (*self.headers, (HEADER.lower(), self.outage)) if self.outage else self.headers
        return json_reply(content | self._place() | why, self.status, headers, PROBLEM)

    @property
    def retry(self) -> bool:
        """True when the same may be accepted later; otherwise it never is."""
        return self.code in PASSING

    def kept(self) -> Problem:
        """The same as an answer to keep: without its traceback, whose frames hold everything that makes up the request.

        If it is kept among what they hold, there is a reference cycle, which only a full pass of Python's collector
        frees. The same holds when it was raised from another error (a text that is no time), which has its own
        traceback.
        """
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)

    def item(self) -> dict[str, str | bool]:
        """The same as the answer to one item of a batch."""
        return {"reason": self.code, "detail": self.detail, "retry": self.retry, **self._place()}

    def _place(self) -> dict[str, str]:
        return {"field": self.field} if self.field else {}


def unauthorized(token_given: bool, detail: str = REFUSAL) -> Problem:
    """401: no token, or none that is valid; the reason is never given (RFC 6750 section 3)."""
    challenge = 'Bearer realm="gateway"' + (', error="invalid_token"' if token_given else "")
    return Problem(401, "unauthorized", detail, headers=(("www-authenticate", challenge),))


def unavailable(fault: Fault) -> Problem:
    """503: not now, through no fault of the request; nothing is lost if it is repeated after Retry-After."""
    again = ("retry-after", str(fault.retry_seconds))
    return Problem(503, fault.code, fault.detail, headers=(again, *lowercase(of_load(fault))), outage=fault.outage)


def failed() -> Problem:
    """500: a fault of ours. It reveals nothing from inside; repeating the request stores nothing twice."""
    return Problem(500, "internal", "The recorder failed, and it is unknown what was stored; send the request again")


def invalid(field: str, detail: str, code: str = "invalid") -> Problem:
    """422: the member at `field` breaks a rule; `detail` completes the sentence that begins with its name."""
    return Problem(422, code, f"{field} {detail}", field)


def repeated() -> Problem:
    """422: one request cannot contain two versions of one measurement."""
    return invalid("key", "occurs earlier in this request", "repeated-key")


def conflict(detail: str, code: str = "conflict") -> Problem:
    """409: the request contradicts what is already stored."""
    return Problem(409, code, detail)


def not_found(what: str) -> Problem:
    """404: the patient of this token has no such thing."""
    return Problem(404, "not-found", f"No such {what}")
