"""Who caused an exception inside a check: the recorder if a response has the wrong form, else the kit.

A check that reads a missing member fails by itself (ddr.conform.exchange.Answered). Any other exception counts against
the recorder only if one of its responses demonstrably lacks the form that FHIR R4, RFC 8414, RFC 9126 or RFC 6749
requires.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from pathlib import Path

from ddr.conform.exchange import Exchange
from ddr.conform.laws.structure import misshapen
from ddr.conform.verdict import Ended, Failed, KitError

ROOT = Path(__file__).parents[1]
NUMBERS = ("expires_in",)
TEXTS = ("access_token", "refresh_token", "token_type", "scope", "sub", "request_uri", "error", "issuer")
_VISIBLE = re.compile(r"[\x20-\x7e]*")


def blamed(error: Exception, answers: Iterable[Exchange]) -> Ended:
    """The verdict of a check that ended in `error`, having read `answers`."""
    if isinstance(error, Ended):
        return error
    for answer in answers:
        if text := malformed(answer):
            return Failed(f"a response is malformed: {text}", answer)
    return KitError(f"{type(error).__name__}: {error} ({_where(error)})")


def malformed(answer: Exchange) -> str:
    """What in a JSON response has the wrong type; "" for nothing."""
    found = answer.json
    try:
        if "resourceType" in found:
            return next(iter(misshapen(found)), "")
        return next((_told(name, value) for name, value in found.items() if not _is_good(name, value)), "")
    except RecursionError:
        return "it is nested too deeply"


def _told(name: str, value: object) -> str:
    """A description of a member; tokens are not shown."""
    return f"{name} is not a string as RFC 6749 allows" if name.endswith("_token") else f"{name} is {value!r:.60}"


def is_visible(value: object) -> bool:
    """Whether it is a text of the characters that RFC 6749 allows in its members (appendix A)."""
    return isinstance(value, str) and _VISIBLE.fullmatch(value) is not None


def _is_good(name: str, value: object) -> bool:
    """Whether a member of the authorization server's metadata or responses has the right form."""
    if name in NUMBERS:
        return isinstance(value, int) and not isinstance(value, bool)
    if name in TEXTS or name.endswith("_endpoint"):
        return is_visible(value)
    if name.endswith("s_supported"):
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return True


def _where(error: Exception) -> str:
    """The innermost line of our own code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [one for one in frames if Path(one.filename).is_relative_to(ROOT)] or frames[-1:]
    if not ours:
        return "nowhere"
    file = Path(ours[-1].filename)
    return f"{file.relative_to(ROOT.parent) if file.is_relative_to(ROOT) else file.name}:{ours[-1].lineno}"
