"""What can go wrong at a recorder, by what the DiGA has to do about it."""

from __future__ import annotations

# What reading a resource can raise when it does not have the form FHIR requires.
ODD = (AttributeError, TypeError, ValueError, LookupError, ArithmeticError)


class ClientError(Exception):
    """The base of all errors of this library."""


class Unreachable(ClientError):
    """No usable response, or an error of the server (5xx): try again later, nothing is lost."""


class Unanswered(Unreachable):
    """A refresh may have been carried out, but its response has not arrived. Repeat it as soon as `retry_seconds` have
    passed: the recorder repeats its response for a few seconds only."""

    def __init__(self, retry_seconds: float) -> None:
        super().__init__("a refresh was sent but its response has not arrived; repeat it at once")
        self.retry_seconds = retry_seconds


class Throttled(ClientError):
    """The Grace-Period still runs, or the recorder is busy: try again in `retry_seconds`."""

    def __init__(self, retry_seconds: float) -> None:
        super().__init__(f"try again in {retry_seconds:.0f} s")
        self.retry_seconds = retry_seconds


class Busy(Throttled):
    """503: the recorder is overloaded or closed for a while, probably for all pairings. Send none of their requests
    until then."""


class PairingEnded(ClientError):
    """The pairing has been ended, by the patient or somebody else, or its tokens are used up: pair again, with the
    patient."""


class BrokenGrant(ClientError):
    """The token store's entry for a pairing cannot be read: restore it from a backup, or pair again."""


class Refused(ClientError):
    """A request that will never succeed as it is. `status` is the HTTP status, `code` that of OAuth or the outcome."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"{status} {code}: {text}")
        self.status, self.code = status, code


class NotListed(Refused):
    """The DiGA-VZ does not list this client id with this certificate, or the DiGA is not active there: correct the
    entry, and wait a quarter of an hour. Pairings survive meanwhile."""


class ScopeRefused(Refused):
    """A kind of data that the DiGA-VZ does not list for this DiGA, or that the patient has not consented to."""


class NoAnswerToThisRequest(ClientError):
    """A redirect that does not belong to the pairing that was started: `state` or `iss` differ. Ignore it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the redirect does not belong to the pairing that was started: {what}")


class ConsentDenied(ClientError):
    """The patient has declined (access_denied)."""


class Unreadable(ClientError):
    """An Observation that does not have the form FHIR requires, so that it cannot be read. The others of a pull can."""

    def __init__(self, observation_id: str) -> None:
        super().__init__("an Observation does not have the form that FHIR requires")
        self.observation_id = observation_id


class NotFound(ClientError):
    """The HIIS-VZ has no such device or recorder."""


KINDS: dict[str, type[Refused]] = {
    "invalid_client": NotListed,
    "unauthorized_client": NotListed,
    "invalid_scope": ScopeRefused,
    "insufficient_scope": ScopeRefused,
}


def throttled(status: int, retry_seconds: float) -> Throttled:
    """The error for a response with status 429 or 503."""
    return (Busy if status == 503 else Throttled)(retry_seconds)


def refused(status: int, code: str, text: str) -> Refused:
    """The error for a code of OAuth (RFC 6749 section 5.2, RFC 6750 section 3.1)."""
    return KINDS.get(code, Refused)(status, code, text)
