"""A process shows the pages of its own version, even if an upgrade replaces the files beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import TemplateNotFound, UndefinedError

from ddr.http.templates import templates


def test_they_are_those_of_the_start(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("{% include 'part.html' %} of {{ name }}")
    (tmp_path / "part.html").write_text("part")
    found = templates(tmp_path)
    (tmp_path / "page.html").write_text("{{ unknown_to_this_version }}")
    (tmp_path / "part.html").unlink()
    assert found.get_template("page.html").render(name="<b>") == "part of &lt;b&gt;"


def test_what_is_missing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("{{ name }}")
    found = templates(tmp_path)
    with pytest.raises(UndefinedError):
        found.get_template("page.html").render()
    with pytest.raises(TemplateNotFound):
        found.get_template("other.html")
