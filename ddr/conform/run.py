"""Runs checks one after another, and says of each how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ddr.conform.check import Check, Need
from ddr.conform.exchange import Exchange
from ddr.conform.kit import Kit
from ddr.conform.verdict import Ended, NotRun, Verdict

SHOWN = 3  # exchanges of a check that are evidence when it names none


@dataclass(frozen=True)
class Result:
    """How a check ended. `shown` are the exchanges that show it; `requests` how many it made."""

    check: Check
    verdict: Verdict
    text: str
    shown: tuple[Exchange, ...]
    seconds: float
    requests: int


def run(kit: Kit, checks: Iterable[Check], told: Callable[[Result], None] = lambda _: None) -> list[Result]:
    """All results, in order; `told` hears each at once."""
    results = []
    for one in checks:
        results.append(_run(kit, one))
        told(results[-1])
    return results


def _run(kit: Kit, one: Check) -> Result:
    began, before = time.monotonic(), len(kit.wire.exchanges)
    verdict, text = Verdict.PASSED, ""
    shown: tuple[Exchange, ...] = ()
    try:
        _ready(kit, one)
        one.run(kit)
    except Ended as error:
        verdict, text, shown = error.verdict, error.text, error.shown
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        # Checks read answers as they must be; what is of another shape altogether ends here.
        verdict, text = Verdict.FAILED, f"an answer is not what it must be: {type(error).__name__}: {error}"
    made = kit.wire.exchanges[before:]
    if verdict is Verdict.FAILED and not shown:
        shown = tuple(made[-SHOWN:])
    return Result(one, verdict, text, tuple(shown), time.monotonic() - began, len(made))


def _ready(kit: Kit, one: Check) -> None:
    """Raises NotRun when something that the check needs is missing."""
    for need in sorted(one.needs):
        if not _there(kit, need):
            raise NotRun(f"needs {need}")


def _there(kit: Kit, need: Need) -> bool:
    match need:
        case Need.CERTIFICATE | Need.PATIENT:
            there = bool(kit.target.digas)
        case Need.TWO_DIGA:
            there = len(kit.target.digas) > 1
        case Need.CONSENTS:
            there = bool(kit.target.digas) and kit.browser.automatic
        case Need.EARLIER:
            there = kit.earlier is not None
        case Need.THROTTLE:
            there = kit.provoke
        case Need.UNPAIR:
            there = not kit.keep
    if there and need in (Need.PATIENT, Need.CONSENTS, Need.THROTTLE, Need.EARLIER):
        assert kit.views  # raises NotRun
    return there
