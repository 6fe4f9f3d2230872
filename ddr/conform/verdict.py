"""How a check ends: a verdict, one line that says why, and the exchanges that prove it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddr.conform.exchange import Exchange


class Verdict(StrEnum):
    """What a check has shown about a requirement."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    PERSON = "needs a person"
    NOT_RUN = "not run"
    KIT_ERROR = "kit error"


class Ended(Exception):
    """Ends a check with its verdict."""

    verdict = Verdict.NOT_RUN

    def __init__(self, text: str, *shown: Exchange) -> None:
        super().__init__(text)
        self.text, self.shown = text, shown


class Failed(Ended):
    """The recorder does not do what the requirement demands."""

    verdict = Verdict.FAILED


class Advised(Failed):
    """The recorder does not follow a recommendation (RFC 2119), in a check that also covers demands: a remark."""


class NotApplicable(Ended):
    """The requirement does not apply to this recorder, this DiGA or this data; the text says why."""

    verdict = Verdict.NOT_APPLICABLE


class NoData(NotApplicable):
    """The test patient has no data for this check."""


class NeedsPerson(Ended):
    """A person has to look; the text says at what."""

    verdict = Verdict.PERSON


class NotRun(Ended):
    """Something needed was missing; the text says what."""


class KitError(Ended):
    """The kit itself is at fault; the text says where. The check shows nothing about the requirement."""

    verdict = Verdict.KIT_ERROR


def expect(holds: object, text: str, *shown: Exchange) -> None:
    """Raise Failed with `text` and the exchanges that prove it, unless `holds`."""
    if not holds:
        raise Failed(text, *shown)
