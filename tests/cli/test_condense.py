"""Repeated lines of the log are condensed, and the end of an outage is logged."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from typing import Any

import pytest

from ddr.cli.serving.condense import EVERY_SECONDS, OVER, REPEATED, Condensed
from ddr.cli.serving.log import fields
from ddr.http import guard
from ddr.http.guard import OVER_SECONDS, Outage


class Kept(logging.Handler):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append({"level": record.levelname.lower(), **fields(record)})


class Log:
    """A condensed log with a clock."""

    def __init__(self) -> None:
        self.now, self.kept = 0.0, Kept()
        self.condensed = Condensed(self.kept, fields, lambda: self.now)

    def say(self, event: str, level: int = logging.WARNING, **extra: Any) -> None:
        self.condensed.handle(logging.getLogger("ddr").makeRecord("ddr", level, "", 1, event, (), None, extra=extra))

    def pass_seconds(self, seconds: float) -> list[dict[str, Any]]:
        """What is written meanwhile."""
        self.kept.lines.clear()
        self.now += seconds
        self.condensed.tick()
        return list(self.kept.lines)


def test_a_thousand_equal_lines_are_one_and_a_count_a_minute() -> None:
    log = Log()
    for _ in range(1001):
        log.say("http.unavailable", code="unavailable")
    assert log.kept.lines == [{"level": "warning", "event": "http.unavailable", "code": "unavailable"}]
    log.now += EVERY_SECONDS - 1
    log.say("http.unavailable", code="unavailable")
    (line,) = log.pass_seconds(1)
    assert (line["event"], line["count"], line["level"]) == (REPEATED, 1001, "warning")
    assert line["line"] == {"event": "http.unavailable", "code": "unavailable"}


def test_the_end_is_told_once() -> None:
    log = Log()
    log.say("registry.fault", source="zts")
    log.say("registry.fault", source="zts")
    log.pass_seconds(EVERY_SECONDS - 1)
    lines = log.pass_seconds(1)
    assert [(line["event"], line["level"]) for line in lines] == [(OVER, "info")]
    assert log.pass_seconds(10 * EVERY_SECONDS) == []
    log.say("registry.fault", source="zts")
    assert log.kept.lines[-1]["event"] == "registry.fault"


def test_a_line_that_came_once_has_no_sequel() -> None:
    log = Log()
    log.say("registry.fault", source="zts")
    assert log.pass_seconds(EVERY_SECONDS) == []


def test_lines_that_differ_are_all_written_and_so_is_what_is_no_trouble() -> None:
    log = Log()
    for _ in range(2):
        log.say("serve.ready", logging.INFO)
    log.say("registry.fault", source="zts")
    log.say("registry.fault", source="diga-vz")
    assert len(log.kept.lines) == 4


def test_what_was_counted_is_told_at_the_end_of_the_process() -> None:
    log = Log()
    for _ in range(3):
        log.say("http.unavailable")
    log.condensed.close()
    assert [(line["event"], line.get("count")) for line in log.kept.lines] == [
        ("http.unavailable", None),
        (REPEATED, 2),
    ]


def test_a_database_that_serves_again_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, guard.log.name)
    now = [0.0]
    outage = Outage(lambda: now[0])
    outage.served()
    outage.noted()
    now[0] = 30.0
    outage.noted()
    outage.served()  # reads while nothing can be written
    assert not caplog.records
    now[0] += OVER_SECONDS
    outage.served()
    outage.served()
    (record,) = caplog.records
    assert record.msg == "http.available" and vars(record)["refused"] == 2 and vars(record)["seconds"] == 35


def test_a_line_that_repeats_keeps_nothing_of_its_exception() -> None:
    class Body:
        """What a request had in hand."""

    log, gone = Log(), []

    def fail() -> None:
        body = Body()
        gone.append(weakref.ref(body))
        raise ConnectionError

    for _ in range(3):
        try:
            fail()
        except ConnectionError:
            record = logging.getLogger("ddr").makeRecord("ddr", logging.ERROR, "", 1, "x", (), sys.exc_info())
            log.condensed.handle(record)
            del record
    gc.collect()
    assert [one() for one in gone] == [None] * 3
    (line,) = log.pass_seconds(EVERY_SECONDS)
    assert line["line"]["exception"] == "ConnectionError" and line["line"]["places"]


def test_a_system_that_gives_no_thread_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker does not end for want of the thread that counts what repeats."""
    asked = list[bool]()

    def start(_: threading.Thread) -> None:
        asked.append(len(asked) > 1)
        if not asked[-1]:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    log = Log()
    log.condensed.keep_ticking()
    for _ in range(4):
        log.say("http.unavailable")
    assert asked == [False, False, True] and len(log.kept.lines) == 1
