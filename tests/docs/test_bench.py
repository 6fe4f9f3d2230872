"""The bench's file of figures has the form that others read, and names missed targets."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import orjson
import pytest

from ddr.dossier.reports import performance
from ddr.http.asgi import Receive, Reply, Scope, Send, send_reply
from tests.bench import audit, history, pages, workers
from tests.bench.__main__ import main
from tests.bench.figure import Figure, Goal, against
from tests.bench.inside import ask
from tests.bench.sections import SECTIONS, options_of
from tests.bench.turns import Seen
from tests.bench.worker import TURNS, with_turns


def test_figures_are_written_in_the_form_that_others_read(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    assert main(["summary", "--json", str(file)]) == 0
    found = orjson.loads(file.read_bytes())
    assert found["made"] and found["processors"] and found.keys() == {"made", "commit", "processors", "figures"}
    figures = found["figures"]
    assert [figure["name"] for figure in figures] == ["summary_5min", "summary_1min"]
    for figure in figures:
        assert figure.keys() == {"name", "value", "unit", "floor", "ratio", "target", "spread", "met"}
        assert figure["value"] > 0 and figure["floor"] > 0 and figure["ratio"] > 0


def test_a_figure_is_the_median_of_rounds_in_turns() -> None:
    figure = against("read", "read", "/s", [10, 30, 20], [20, 20, 40], Goal(least=0.6))
    assert (figure.value, figure.floor, figure.ratio) == (20, 20, 0.5)
    assert figure.spread == 2.0
    assert not figure.met and not figure.broken
    assert "missed" in figure.cells()[-1]


@pytest.mark.parametrize(("value", "broken"), [(0, False), (1, True)])
def test_only_promises_that_a_machine_cannot_break_are_errors(value: float, broken: bool) -> None:
    assert Figure("wal", "WAL", value, "bytes", target=Goal(most=0, promised=True)).broken is broken


def test_unknown_sections_are_refused() -> None:
    assert options_of([]).sections == tuple(SECTIONS)
    with pytest.raises(SystemExit):
        options_of(["no-such-section"])


def test_the_dossier_says_which_figures_miss_their_target() -> None:
    slow = against("read", "read", "/s", [10], [20], Goal(least=0.6))
    fast = against("search", "search", "/s", [20], [20], Goal(least=0.6))
    report = {"made": "2026-11-27", "commit": "0123456789abcdef", "processors": 2}
    chapter = performance({**report, "figures": [slow.as_json(), fast.as_json()]})
    assert [row["target"] for row in chapter.rows] == ["≥ 0.6, missed", "≥ 0.6"]
    assert (
        "commit 0123456789ab, 2 processors" in chapter.about and "Of 2 figures with a target 1 miss it" in chapter.about
    )


def seen(per_second: float, worker_us: float = 900, database_us: float = 500) -> Seen:
    return Seen([per_second] * 3, [1000 / per_second] * 3, [worker_us] * 3, [database_us] * 3, 1900)


@pytest.mark.parametrize(("processors", "told"), [(2, True), (4, False)])
def test_workers_are_measured_against_one_and_it_says_where_that_shows_nothing(processors: int, told: bool) -> None:
    rounds = {f"read@{number}": seen(400 * number, 900 + 10 * number) for number in workers.NUMBERS}
    found = {one.name: one for one in workers.figures("read", rounds, {2: "8+8", 4: "8+8+8+8"}, processors)}
    assert found.keys() == {"workers_read_1"} | {
        f"workers_read_{number}{what}" for number in (2, 4) for what in ("", "_cpu", "_database")
    }
    assert found["workers_read_2"].ratio == 2 and "connections 8+8" in found["workers_read_2"].more
    assert ("no measure" in found["workers_read_2"].text) is told
    assert found["workers_read_2_cpu"].met
    rounds["read@2"] = seen(600, 1100)
    rate, cpu, _ = workers.figures("read", rounds, {2: "", 4: ""}, processors)[1:4]
    assert not rate.met and not cpu.met and not cpu.broken


def test_what_idle_workers_take_is_no_cost_of_a_request() -> None:
    beyond = workers.beyond((0.02, 0.01), seen(per_second=100, worker_us=1000, database_us=500))
    assert beyond.worker_us == [800] * 3 and beyond.database_us == [400] * 3


def test_a_page_is_measured_against_the_static_document() -> None:
    rounds = {"static": seen(1000, 400), "chart": seen(50, 16_000, 900)}
    rate, worker, database = pages.figures("chart", "charts", rounds)
    assert (rate.name, rate.ratio) == ("page_chart", 0.05)
    assert (worker.name, worker.floor, worker.ratio) == ("page_chart_worker", 400, 40)
    assert (database.name, database.value) == ("page_chart_database", 900)


def test_a_year_of_the_trail_is_measured_against_a_day() -> None:
    names = ("page@year", "page@day", "usual@year", "old@year", "read@day")
    found = audit.pages_and_admission({**dict.fromkeys(names, seen(100)), "read@year": seen(50)})
    missed = {one.name for one in found if not one.met}
    assert missed == {"audit_admission"}, "a year makes it twice as slow here"
    assert {one.name for one in found} == missed | {
        "audit_page",
        "audit_page_database",
        "audit_page_cpu",
        "audit_admission_cpu",
        "audit_admission_database",
        "audit_page_days",
        "audit_page_old",
    }


def test_a_long_historic_period_is_measured_against_a_month() -> None:
    rounds = {f"{name}@{days}": seen(100, database_us=days * 10) for name in history.ASKED for days in history.DAYS}
    found = {one.name: one for one in history.figures(rounds)}
    assert found["history_poll_365"].ratio == 1 and found["history_poll_365_database"].ratio == 365 / 30
    assert len(found) == 2 * len(history.ASKED) * (len(history.DAYS) - 1)


async def test_the_longest_turn_of_the_event_loop_is_told_once() -> None:
    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        await send_reply(scope, send, Reply(200, b"-", "text/plain"))

    app = with_turns(nothing)
    await ask(app, "GET", TURNS, {})
    await asyncio.sleep(0)  # it begins to look
    time.sleep(0.2)  # noqa: ASYNC251 - what nobody may do
    await asyncio.sleep(0.1)
    lag, _ = orjson.loads(await ask(app, "GET", TURNS, {}))
    assert lag > 150
    again, _ = orjson.loads(await ask(app, "GET", TURNS, {}))
    assert again < lag
    assert await ask(app, "GET", "/me", {}) == b"-"
