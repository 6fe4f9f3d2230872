"""A report as one printable HTML file: no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment

from ddr.conform.exchange import Json

PAGE = Path(__file__).with_name("page.html")


def html(report: Json) -> str:
    """The page; everything from the recorder is escaped."""
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(PAGE.read_text("utf-8"))
    return template.render(report=report)
