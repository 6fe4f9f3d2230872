"""The bench's file of figures has the form that others read, and says what was missed."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from ddr.dossier.reports import performance
from tests.bench.__main__ import main
from tests.bench.figure import Figure, Goal, against
from tests.bench.sections import SECTIONS, options_of


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
