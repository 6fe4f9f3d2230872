"""Templates of pages as they were at the start of the process: an upgrade replaces files while one still serves."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined


def templates(folder: Path) -> Environment:
    """The `*.html` of `folder`, read now. Inserted values are escaped; a missing value is an error."""
    sources = {path.name: (path.read_text("utf-8"), str(path), None) for path in folder.glob("*.html")}
    return Environment(
        loader=FunctionLoader(lambda name: sources.get(name)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
