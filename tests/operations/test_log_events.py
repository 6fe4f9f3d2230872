"""docs/log-events.md lists exactly the events that the code logs with a constant name, and their levels."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from ddr.cli.serving import condense, unread
from ddr.cli.serving.log import NOT_CONNECTED

ROOT = Path(__file__).parents[2]
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
NAME = re.compile(r"[a-z_]+\.[a-z_]+")
OWN = {
    (condense.REPEATED, "as the line"),
    (condense.OVER, "info"),
    (unread.LOST, "warning"),
    (NOT_CONNECTED, "warning"),
}  # from the handler itself or a library


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    """Each call of a method of `log` in the code, with its event name."""
    for path in sorted((ROOT / "ddr").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "logger"), attr=level)) if level in LEVELS:
                    yield path, node, level


def test_every_event_has_a_constant_name_and_nothing_in_its_text() -> None:
    for path, call, _ in calls():
        where = f"{path}:{call.lineno}"
        assert isinstance(call.args[0], ast.Constant), where
        assert len(call.args) == 1 and NAME.fullmatch(str(call.args[0].value)), where


def test_nothing_logs_by_another_way() -> None:
    for path in sorted((ROOT / "ddr").rglob("*.py")):
        assert not re.search(r"\blogging\.(info|warning|error|exception|critical)\(", path.read_text()), path


def test_the_page_lists_every_event_with_its_level() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", _page(), re.MULTILINE)
    assert all(meaning.strip() and todo.strip() for _, _, meaning, todo in rows)
    listed = {(event, level) for event, level, _, _ in rows}
    used = {(call.args[0].value, level) for _, call, level in calls() if isinstance(call.args[0], ast.Constant)}
    assert listed == used | OWN
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def _page() -> str:
    return (ROOT / "docs/log-events.md").read_text()
