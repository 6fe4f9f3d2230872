"""What can go wrong at a recorder, by what the DiGA has to do about it."""

from __future__ import annotations

# What reading a resource of another form than FHIR gives it ends with.
ODD = (AttributeError, TypeError, ValueError, LookupError, ArithmeticError)


class ClientError(Exception):
    """Every error of this library."""


class Unreachable(ClientError):
    """No answer, or 5xx for longer than we were told to wait: try again later, nothing is lost."""


class Unanswered(Unreachable):
    """A refresh may have been done, and its answer has not come: ask again as soon as `retry_seconds` are over, for the
    recorder repeats it for some seconds only."""

    def __init__(self, retry_seconds: float) -> None:
        super().__init__("a refresh was sent and is not answered")
        self.retry_seconds = retry_seconds


class Throttled(ClientError):
    """The Grace-Period still runs, or the recorder is busy: come back in `retry_seconds`."""

    def __init__(self, retry_seconds: float) -> None:
        super().__init__(f"come back in {retry_seconds:.0f} s")
        self.retry_seconds = retry_seconds


class Busy(Throttled):
    """503: the recorder is overloaded or closed for a while, and probably for all pairings: ask for none until then."""


class PairingEnded(ClientError):
    """The patient or somebody else has ended the pairing, or its tokens are used up: pair anew, with the patient."""


class BrokenGrant(ClientError):
    """What the token store holds for a pairing cannot be read: bring it back from a copy, or pair anew."""


class Refused(ClientError):
    """A request that will never succeed as it is. `status` is that of HTTP, `code` that of OAuth or the outcome."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"{status} {code}: {text}")
        self.status, self.code = status, code


class NotListed(Refused):
    """Client id and certificate are not together in the DiGA-VZ, or the DiGA is not active there: mend the entry, and
    wait a quarter of an hour. Pairings live on meanwhile."""


class ScopeRefused(Refused):
    """A kind of data that the DiGA-VZ does not list for this DiGA, or that the patient has not agreed to."""


class NoAnswerToThisRequest(ClientError):
    """A redirect that does not belong to the pairing that was started: `state` or `iss` differ. Drop it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the address is not of the pairing that was started: {what}")


class ConsentDenied(ClientError):
    """The patient has not agreed (access_denied)."""


class Unreadable(ClientError):
    """An Observation of another form than FHIR gives it: what it says cannot be told. The others of a pull can."""

    def __init__(self, observation_id: str) -> None:
        super().__init__("an Observation of a form that FHIR does not give it")
        self.observation_id = observation_id


class NotFound(ClientError):
    """The HIIS-VZ holds no such device or recorder."""


KINDS: dict[str, type[Refused]] = {
    "invalid_client": NotListed,
    "unauthorized_client": NotListed,
    "invalid_scope": ScopeRefused,
    "insufficient_scope": ScopeRefused,
}


def throttled(status: int, retry_seconds: float) -> Throttled:
    """The error of an answer 429 or 503."""
    return (Busy if status == 503 else Throttled)(retry_seconds)


def refused(status: int, code: str, text: str) -> Refused:
    """The class for an error code of OAuth (RFC 6749 section 5.2, RFC 6750 section 3.1)."""
    return KINDS.get(code, Refused)(status, code, text)
