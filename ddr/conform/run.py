"""Runs checks one after another, with a result for each; an interrupted run ends with all its results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ddr.conform.blame import blamed
from ddr.conform.check import Check, Need
from ddr.conform.data import OF_CHAPTER, WORDS, Data
from ddr.conform.exchange import Exchange
from ddr.conform.kit import Kit
from ddr.conform.verdict import Advised, Ended, Failed, NoData, NotRun, Verdict
from ddr.reasons import printable

INTERRUPTED = "interrupted"
SHOWN = 3  # exchanges that are evidence when a check names none


@dataclass(frozen=True)
class Result:
    """How a check ended. `shown` are the exchanges that prove it; `requests` is the number that it made; `advice`: what
    it found contradicts a recommendation only."""

    check: Check
    verdict: Verdict
    text: str
    shown: tuple[Exchange, ...]
    seconds: float
    requests: int
    advice: bool = False


def run(kit: Kit, checks: Iterable[Check], tell: Callable[[Result], None] = lambda _: None) -> list[Result]:
    """All results, in order; `tell` is called with each at once.

    The run ends with Ctrl-C, or when the recorder no longer answers. `kit.stopped` then says why, the check that
    noticed it has failed, and the remaining checks are not run.
    """
    results: list[Result] = []
    waiting = list(checks)
    try:
        while waiting and not kit.stopped:
            results.append(_run(kit, waiting[0]))
            waiting.pop(0)
            tell(results[-1])
    except KeyboardInterrupt:
        kit.stopped = INTERRUPTED
    return results + [Result(one, Verdict.NOT_RUN, kit.stopped, (), 0, 0) for one in waiting]


def _run(kit: Kit, one: Check) -> Result:
    began, before = time.monotonic(), len(kit.wire.exchanges)
    end = Ended("")
    try:
        _ready(kit, one)
        one.run(kit)
        verdict = Verdict.PASSED
    except Exception as error:  # a fault of the kit must not end the run
        end = blamed(error, [*kit.wire.exchanges[before:], *kit.pages])
        verdict = end.verdict
    made = kit.wire.exchanges[before:]
    if any(not exchange.status for exchange in made) and (lost := kit.lost()):
        kit.stopped, verdict = f"the recorder can no longer be reached: {lost.error}", Verdict.FAILED
        end = Failed(kit.stopped, *[exchange for exchange in made if not exchange.status][-SHOWN:], lost)
    if isinstance(end, NoData):
        end.text += f"; wanted: {WORDS[OF_CHAPTER.get(one.requirements[0].partition('-')[0], Data.GLUCOSE)]}"
    shown = end.shown
    if verdict in (Verdict.FAILED, Verdict.KIT_ERROR) and not shown:
        shown = tuple(made[-SHOWN:])
    seconds, advice = time.monotonic() - began, isinstance(end, Advised)
    return Result(one, verdict, printable(kit.wire.secrets.mask(end.text)), shown, seconds, len(made), advice)


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
        case Need.DATA:
            there = kit.source is not None
        case Need.UNPAIR:
            there = not kit.keep
    if there and need in (Need.PATIENT, Need.CONSENTS, Need.THROTTLE, Need.EARLIER, Need.DATA):
        assert kit.views  # raises NotRun
    return there
