"""Any commands of operators, even concurrent ones, lead to the state of a naive model in every form of the status feed.

The feed is the same on every worker, and a month's availability equals a count moment by moment.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise, permutations
from typing import Any
from unittest.mock import patch
from xml.etree import ElementTree

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ddr.cli import maintenance, notice
from ddr.cli.errors import CommandError
from ddr.durations import DAY_MS
from ddr.fhir.instants import instant
from ddr.http.core import Core
from ddr.operations.availability import Span, compute
from ddr.operations.business_days import ZONE, earliest
from ddr.operations.maintenance import closure
from ddr.operations.status import atom, board, page
from ddr.operations.status.board import PAST_MS
from ddr.operations.status.feed import document, retracted
from ddr.store.database.pool import open_pool
from ddr.store.outages import notices as store
from ddr.store.outages import retractions
from ddr.store.outages.notices import KEPT_MS, Notices
from tests.support.budget import budget, limited
from tests.support.clock import Clock
from tests.support.database import migrated_database
from tests.support.loop import Loop

BUDGET = budget(examples=25, steps=12)
ATOM = "{http://www.w3.org/2005/Atom}"
HOUR = 3_600_000
BACK = ("retract", "undo")
START = 1_795_341_600_000  # a Sunday
PARSER = argparse.ArgumentParser()
_COMMANDS = PARSER.add_subparsers()
for name, command in (("maintenance", maintenance), ("notice", notice)):
    command.add_arguments(_COMMANDS.add_parser(name))


@dataclass
class Told:
    """A notice of the model; instants in milliseconds, `until_ms` None: not known."""

    cause: str
    planned: bool
    demoted: bool
    functions: tuple[str, ...]
    from_ms: int
    until_ms: int | None
    announced_ms: int
    urgent: bool = False
    ended_ms: int | None = None
    cancelled_ms: int | None = None
    retracted: bool = False
    said_ms: int = 0  # when it was retracted, or when that was undone
    name: str = ""

    @property
    def end_ms(self) -> int | None:
        ends = [end for end in (self.until_ms, self.ended_ms) if end is not None]
        return min(ends, default=None)

    def place(self, now_ms: int) -> str:
        """Its place in the feed."""
        if self.retracted:
            return "nowhere"
        if self.cancelled_ms is not None:
            return "cancelled" if self.cancelled_ms > now_ms - PAST_MS else "nowhere"
        if now_ms < self.from_ms:
            return "planned"
        if self.end_ms is None or now_ms < self.end_ms:
            return "events"
        return "past" if self.end_ms >= now_ms - KEPT_MS or self.lately(now_ms) else "nowhere"

    def lately(self, now_ms: int) -> bool:
        """Whether the later statement about it is news."""
        return self.said_ms > now_ms - PAST_MS


@dataclass(frozen=True)
class Command:
    """A command of an operator; `which` selects a notice in the order of begin, times are in hours."""

    action: str
    which: int = 0
    begins: int = 0
    lasts: int = 1
    urgent: bool = False
    demoted: bool = False
    functions: tuple[str, ...] = ("data",)

    def words(self, cause: str, name: str, now_ms: int) -> list[str]:
        """The command's arguments."""
        begins_ms = now_ms + self.begins * HOUR
        about = ["--cause", cause, "--functions", *self.functions]
        until = ["--until", instant(begins_ms + self.lasts * HOUR)]
        urgent = ["--urgent", "--reason", "CVE"] if self.urgent else []
        match self.action:
            case "schedule":
                more = [
                    *until,
                    *urgent,
                    "--impact",
                    "none",
                    "--contact",
                    "us",
                    *(["--demoted"] if self.demoted else []),
                ]
                return ["maintenance", "schedule", "--from", instant(begins_ms), *about, *more]
            case "start":
                return ["maintenance", "start", name, *urgent]
            case "end" | "cancel":
                return ["maintenance", self.action, name]
            case "report":
                state = "demoted" if self.demoted else "unavailable"
                known = until if self.lasts else []
                return ["notice", "report", "--state", state, "--from", instant(begins_ms), *about, *known]
            case "resolve":
                return ["notice", "resolve", name]
        undo = ["--undo"] if self.action == "undo" else []
        return ["notice", "retract", name, "--by", "us", "--reason", "never was", *undo]


commands = st.builds(
    Command,
    st.sampled_from(
        ("schedule", "schedule", "start", "end", "cancel", "report", "report", "resolve", "resolve", "retract", "undo")
    ),
    st.integers(0, 3),
    st.sampled_from((0, 1, 24, 24 * 7, 24 * 8, -1)),
    st.sampled_from((1, 0, 0, 2, 24, 24 * 7)),
    st.booleans(),
    st.booleans(),
    st.sampled_from((("data",), ("ingestion",), ("data", "ingestion"), ("token", "pairing"))),
)


@dataclass
class Model:
    """All notices in the order in which they were published."""

    told: list[Told] = field(default_factory=list)

    def named(self, name: str) -> Told | None:
        return next((one for one in self.told if one.name == name), None)

    def do(self, command: Command, cause: str, name: str, now_ms: int) -> bool:
        """Whether it is carried out."""
        one = self.named(name)
        begins_ms = now_ms + command.begins * HOUR
        until_ms = begins_ms + command.lasts * HOUR
        new = Told(cause, True, command.demoted, command.functions, begins_ms, until_ms, now_ms, command.urgent)
        match command.action:
            case "schedule":
                early = datetime.fromtimestamp(now_ms / 1000, ZONE)
                if begins_ms < now_ms or not command.lasts or until_ms <= now_ms:
                    return False
                if begins_ms < earliest(early).timestamp() * 1000 and not command.urgent:
                    return False
            case "report":
                new.planned, new.urgent = False, False
                if command.lasts and until_ms <= max(begins_ms, now_ms):
                    return False
                if not command.lasts:
                    new.until_ms = None
            case _ if one is None:
                return False
            case "start":
                if not (command.urgent and one.planned and one.cancelled_ms is None and now_ms < one.from_ms):
                    return False
                assert one.until_ms is not None
                one.cancelled_ms = now_ms
                lasts = one.until_ms - one.from_ms
                new = replace(one, from_ms=now_ms, until_ms=now_ms + lasts, announced_ms=now_ms)
                new.urgent, new.cancelled_ms, new.name = True, None, ""
            case "end" | "cancel" | "resolve":
                return self._over(one, command.action, now_ms)
            case _:
                return self._back(one, command.action == "undo", now_ms)
        self.told.append(new)
        return True

    def _over(self, one: Told, action: str, now_ms: int) -> bool:
        if action == "resolve" and one.planned:
            return False
        to_come = one.cancelled_ms is None and now_ms < one.from_ms
        going_on = one.cancelled_ms is None and not to_come and (one.end_ms is None or now_ms < one.end_ms)
        if going_on and action != "cancel":
            one.ended_ms = now_ms
            return True
        if to_come and action != "end":
            one.cancelled_ms = now_ms
            return True
        return False

    def _back(self, one: Told, undo: bool, now_ms: int) -> bool:
        over = one.cancelled_ms is not None or (one.end_ms is not None and one.end_ms <= now_ms)
        if one.planned or not over or one.retracted != undo:
            return False
        one.retracted, one.said_ms = not undo, now_ms
        return True


class NoticeMachine(RuleBasedStateMachine):
    """Operators, and two workers."""

    core: Core
    run: Callable[[Coroutine[Any, Any, Any]], Any]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(START)
        clock = self.clock
        self.workers = [replace(self.core, clock=clock, steer=clock, notices=Notices()) for _ in range(2)]
        self.model = Model()
        self.causes = 0
        self.told_ms = 0
        self.updated: dict[str, str] = {}  # of the feed and each entry, as a subscriber has them

    @initialize()
    def begin(self) -> None:
        self.run(self.core.pool.execute("TRUNCATE outage_notice"))
        self.run(self.core.pool.execute("ALTER TABLE outage_retraction DISABLE TRIGGER USER"))
        self.run(self.core.pool.execute("DELETE FROM outage_retraction"))

    @rule(some=st.lists(commands, min_size=1, max_size=3))
    def commands_at_once(self, some: Sequence[Command]) -> None:
        names = sorted((one.from_ms, one.name) for one in self.model.told if one.name)
        wanted = []
        for command in some:
            self.causes += 1
            name = names[command.which % len(names)][1] if names else "nosuch"
            wanted.append((command, f"cause{self.causes}.", name))
        done = self.run(self.do(wanted))
        known = self.run(store.recent(self.core.pool, 0))
        for order in permutations(range(len(wanted))):
            model = deepcopy(self.model)
            if all(model.do(*wanted[at], self.clock()) == done[at] for at in order):
                by_begin = {(one.cause, one.from_ms, one.announced_ms): one.notice for one in known}
                for one in model.told:
                    one.name = one.name or by_begin.get((one.cause, one.from_ms, one.announced_ms), "?")
                if stored(model) == {
                    one.notice: (one.from_ms, one.until_ms, one.ended_ms, one.cancelled_ms) for one in known
                }:
                    self.model = model
                    told = [one for (command, *_), one in zip(wanted, done, strict=True) if command.action not in BACK]
                    self.told_ms = self.clock() if any(told) else self.told_ms
                    return
        raise AssertionError(f"{wanted}: {done} in no order")

    async def do(self, wanted: Sequence[tuple[Command, str, str]]) -> list[bool]:
        now_ms = self.clock()
        with (
            patch("ddr.cli.maintenance.now_ms", self.clock),
            patch("ddr.cli.notice.now_ms", self.clock),
            patch("ddr.cli.notices.now_ms", self.clock),
        ):
            return await asyncio.gather(
                *(self.one(command.words(cause, name, now_ms)) for command, cause, name in wanted)
            )

    async def one(self, words: list[str]) -> bool:
        args = PARSER.parse_args(words)
        try:
            await args.does(args, self.core.settings, self.core.pool)
        except CommandError:
            return False
        return True

    @rule(hours=st.sampled_from((0, 1, 2, 24, 24 * 8, 24 * 31, 24 * 31)))
    def wait(self, hours: int) -> None:
        self.clock.advance(3600 * hours + 1)

    @invariant()
    def every_form_of_every_worker_tells_the_same(self) -> None:
        now_ms = self.clock()
        for worker in self.workers:
            seen = self.run(board.read(worker))
            feed = document(worker, seen)
            wanted = {
                name: sorted(one.cause for one in self.model.told if one.place(now_ms) == name)
                for name in ("events", "planned", "cancelled", "past")
            }
            told = {name: sorted(one["cause"] for one in feed[name] if one["contact"] != "-") for name in wanted}
            told = {name: [cause for cause in causes if cause.startswith("cause")] for name, causes in told.items()}
            assert told == wanted, (told, wanted, self.model.told, now_ms)
            text = page.reply(worker, seen, {"path": "/status", "headers": [], "query_string": b""}).body.decode()
            root = ElementTree.fromstring(atom.render(worker, feed, retracted(worker, seen)))
            if self.told_ms == now_ms:
                assert root.findtext(f"{ATOM}updated") == instant(now_ms), "who reads what is new learns of it"
            for one in (root, *root.iter(f"{ATOM}entry")):
                name, updated = one.findtext(f"{ATOM}id", ""), one.findtext(f"{ATOM}updated", "")
                assert updated >= self.updated.get(name, ""), "what is older is ignored"
                self.updated[name] = updated
            titles = [entry.findtext(f"{ATOM}title", "").partition(": ") for entry in root.iter(f"{ATOM}entry")]
            everything = sorted(cause for causes in wanted.values() for cause in causes)
            never = [one.cause for one in self.model.told if one.retracted and one.lately(now_ms)]
            seen_by = {True: sorted(never), False: everything}
            for back, causes in seen_by.items():
                told_so = [cause for status, _, cause in titles if (status == "retracted") == back]
                assert sorted(cause for cause in told_so if cause.startswith("cause")) == causes
            assert sorted(re.findall(r": (cause[0-9]+\.)</h3>", text)) == everything

    @invariant()
    def what_is_closed_opens_when_the_last_window_is_over(self) -> None:
        now_ms = self.clock()
        for worker in self.workers:
            for function in ("data", "token", "ingestion"):
                found = closure(worker, function)
                end_ms = now_ms
                while ends := [
                    one.end_ms
                    for one in self.model.told
                    if one.planned and not one.demoted and one.cancelled_ms is None and function in one.functions
                    if one.end_ms is not None and one.from_ms <= end_ms < one.end_ms
                ]:
                    end_ms = max(ends)
                assert (None if found is None else found.retry_seconds) == (
                    None if end_ms == now_ms else max(1, -(-(end_ms - now_ms) // 1000))
                )

    @rule()
    def count_the_time(self) -> None:
        now_ms = self.clock()
        month = Span(START - 24 * HOUR, START + 30 * DAY_MS)
        known = self.run(store.recent(self.core.pool, month.from_ms))
        result = compute(month, now_ms, known, [], [], self.run(retractions.standing(self.core.pool)))
        until_ms = min(month.until_ms, now_ms)
        instants = {month.from_ms, until_ms}
        for one in self.model.told:
            instants |= {at for at in (one.from_ms, one.end_ms) if at is not None and month.from_ms < at < until_ms}
        planned = down = 0
        for first, last in pairwise(sorted(instants)):
            ways = {
                way(one)
                for one in self.model.told
                if one.from_ms <= first and (one.end_ms is None or first < one.end_ms)
            }
            planned += (last - first) * ("planned" in ways)
            down += (last - first) * ("down" in ways and "planned" not in ways)
        assert (result.planned_ms, result.down_ms) == (planned, down)


def way(one: Told) -> str:
    """How a notice counts while it lasts."""
    nothing = one.cancelled_ms is not None or one.demoted or one.retracted or one.functions == ("ingestion",)
    if nothing:
        return "nothing"
    if not one.planned:
        return "down"
    first = earliest(datetime.fromtimestamp(one.announced_ms / 1000, UTC).astimezone(ZONE))
    return "planned" if one.urgent or one.from_ms >= first.timestamp() * 1000 else "down"


def stored(model: Model) -> Any:
    """What the database should contain."""
    return {one.name: (one.from_ms, one.until_ms, one.ended_ms, one.cancelled_ms) for one in model.told}


@pytest.fixture
async def own(core: Core, database_url: str) -> AsyncIterator[Core]:
    """A Core with a database of its own."""
    async with migrated_database(database_url) as url:
        own_settings = replace(core.settings, database_url=url)
        async with await open_pool(own_settings) as pool:
            yield replace(core, settings=own_settings, pool=pool)


@limited
def test_every_form_tells_what_operators_said(own: Core, loop: Loop) -> None:
    members = {"core": own, "run": staticmethod(loop.run)}
    run_state_machine_as_test(type("Machine", (NoticeMachine,), members), settings=BUDGET)
