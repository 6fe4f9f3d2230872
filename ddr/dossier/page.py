"""The dossier as one printable page: facts, one table of contents, chapters; nothing loaded from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from ddr.dossier.model import Chapter, Dossier, Row

# The words for a proof's result; everything else is plain text.
_VERDICTS = {
    "passed": "good",
    "operator": "owned",
    "explained": "owned",
    "failed": "bad",
    "not covered": "bad",
    "no result": "bad",
}


def html(dossier: Dossier) -> str:
    """The whole page."""
    parts = [*_front(dossier), *(part for at, one in enumerate(dossier.chapters, 1) for part in _chapter(at, one))]
    if dossier.documents:
        parts += _documents(len(dossier.chapters) + 1, dossier.documents)
    title, style = escape(dossier.title), Path(__file__).with_name("page.css").read_text("utf-8")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style></head><body>{Markup('').join(parts)}</body></html>\n"
    )


def _front(dossier: Dossier) -> Iterator[Markup]:
    yield Markup("<h1>{}</h1>").format(dossier.title)
    rows = Markup("").join(
        Markup("<tr><th>{}</th><td>{}</td></tr>").format(name, _cell(text)) for name, text in dossier.facts.items()
    )
    yield Markup('<table class="facts"><tbody>{}</tbody></table>').format(rows)
    if dossier.missing:
        lines = Markup("").join(Markup("<li>{}</li>").format(one) for one in dossier.missing)
        yield Markup('<div class="missing"><p><b>Without evidence or owner:</b></p><ul>{}</ul></div>').format(lines)
    else:
        yield Markup("<p>Every row has evidence or an owner: nothing is missing.</p>")
    yield Markup("<h2>Contents</h2><nav><ol>{}</ol></nav>").format(Markup("").join(_contents(dossier)))


def _contents(dossier: Dossier) -> Iterator[Markup]:
    for at, one in enumerate(dossier.chapters, 1):
        below = [
            Markup('<li><a href="#c{}-{}">{}</a></li>').format(at, number, name)
            for number, (name, _) in enumerate(_groups(one), 1)
            if name
        ]
        inner = Markup("<ul>{}</ul>").format(Markup("").join(below)) if below else ""
        yield Markup('<li><a href="#c{}">{}</a>{}</li>').format(at, one.name, inner)
    if dossier.documents:
        yield Markup('<li><a href="#c{}">Documents</a></li>').format(len(dossier.chapters) + 1)


def _chapter(at: int, one: Chapter) -> Iterator[Markup]:
    yield Markup('<h2 id="c{}">{}. {}</h2><p>{}</p>').format(at, at, one.name, one.about)
    for number, (name, rows) in enumerate(_groups(one), 1):
        if name:
            yield Markup('<h3 id="c{}-{}">{}</h3>').format(at, number, name)
        yield _table(rows)


def _groups(one: Chapter) -> list[tuple[str, list[Row]]]:
    """The rows under headings from their column `by`, without that column; without `by`, all of them under no
    heading."""
    if not one.by:
        return [("", list(one.rows))]
    return [
        (name, [{key: text for key, text in row.items() if key != one.by} for row in rows])
        for name, rows in groupby(one.rows, key=lambda row: row[one.by])
    ]


def _documents(at: int, documents: Any) -> Iterator[Markup]:
    yield Markup('<h2 id="c{}">{}. Documents</h2><p>{}</p>').format(
        at,
        at,
        "The complete documents are inside dossier.json; `make dossier` and `ddr dossier` also write each"
        " into the folder documents.",
    )
    yield _table(
        [{"file": name, "bytes": str(len(orjson.dumps(one))), "what": _titled(one)} for name, one in documents.items()]
    )


def _titled(document: Any) -> str:
    """What a JSON document calls itself."""
    if not isinstance(document, dict):
        return ""
    info = document.get("info")
    found = info.get("title") if isinstance(info, dict) else None
    return str(found or document.get("title") or document.get("resourceType") or document.get("bomFormat") or "")


def _table(rows: Sequence[Row]) -> Markup:
    """The rows without columns that are empty in all of them."""
    if not rows:
        return Markup("<p>None.</p>")
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    heading = Markup("").join(Markup("<th>{}</th>").format(name) for name in columns)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(_framed(row[name]) for name in columns)) for row in rows
    )
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(heading, body)


def _framed(text: str) -> Markup:
    """A cell as wide as its text needs: a verdict or word is not broken, a file path breaks between its parts."""
    if text in _VERDICTS:
        kind = _VERDICTS[text]
    elif re.fullmatch(r"[\w.%-]{1,12}", text):
        kind = "short"
    else:
        kind = "place" if re.match(r"[\w.-]+/[\w./-]+(:| |$)", text, re.MULTILINE) else "long" if len(text) > 80 else ""
    return Markup('<td class="{}">{}</td>').format(kind, _cell(text))


def _cell(text: str) -> Markup:
    """The text escaped, with its line breaks, and with places where test names and paths may break."""
    if re.fullmatch(r"https://\S+", text):
        return Markup('<a href="{}">{}</a>').format(text, urlsplit(text).hostname)
    lines = (_coded(line) for line in text.splitlines())
    return Markup("<br>").join(lines)


def _coded(line: str) -> Markup:
    """Text between backticks as code."""
    parts = (Markup("<wbr>").join(re.split(r"(?<=::)|(?<=[/_])", part)) for part in line.split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))
