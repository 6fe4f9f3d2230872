"""Each binding requirement has a check or a reason why no check can cover it; docs/conformance-kit.md has the table.

`python -m tests.conform.test_coverage` writes it.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

from ddr.conform.catalogue import catalogue, unseen
from ddr.conform.check import all_checks

PAGE = Path(__file__).parents[2] / "docs/conformance-kit.md"
BEGIN, END = "<!-- coverage -->", "<!-- /coverage -->"
BINDING = [one for one in catalogue().values() if one.binds]


def looked_at() -> dict[str, list[str]]:
    """The checks of each requirement."""
    found: dict[str, list[str]] = {}
    for one in all_checks():
        for name in one.requirements:
            found.setdefault(name, []).append(f"`{one.name}`")
    return found


def table() -> str:
    """A table for each chapter."""
    checks, lines = looked_at(), [BEGIN]
    for chapter, rows in groupby(BINDING, lambda one: one.chapter):
        lines += ["", f"### {chapter}", "| requirement | | is looked at by |", "|---|---|---|"]
        for one in rows:
            told = ", ".join(checks.get(one.id, ())) or f"none: {unseen()[one.id]}"
            lines.append(f"| {one.id} | {one.level} | {told} |")
    return "\n".join((*lines, END))


def page_with(text: str) -> str:
    """The page with its table up to date."""
    return re.sub(f"{BEGIN}.*{END}", lambda _: table(), text, flags=re.DOTALL)


def test_each_requirement_has_a_check_or_a_reason() -> None:
    checks = looked_at()
    assert {one.id for one in BINDING} - checks.keys() == unseen().keys()


def test_every_check_stands_under_a_requirement() -> None:
    for one in all_checks():
        assert [name for name in one.requirements if name not in catalogue()] == [], one.name
        assert one.words.endswith("."), one.name


def test_the_page_has_the_table() -> None:
    text = PAGE.read_text("utf-8")
    assert BEGIN in text and page_with(text) == text, "python -m tests.conform.test_coverage"


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text("utf-8")), "utf-8")
