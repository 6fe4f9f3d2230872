"""The status feed for subscribers (RFC 4287): current, announced, past, cancelled and retracted events."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any
from unicodedata import category
from uuid import NAMESPACE_URL, uuid5
from xml.etree.ElementTree import Element, SubElement, tostring

from ddr.http.core import Core

NAMESPACE = "http://www.w3.org/2005/Atom"
RETRACTED = "retracted"


def render(core: Core, feed: dict[str, Any], retracted: Iterable[dict[str, Any]]) -> bytes:
    """`feed` (ddr.operations.status.feed) as an Atom document; an entry changes when its event does.

    Readers keep entries that disappear, so a `retracted` event has an entry that says so; other forms leave it out.

    An entry that disappears changes the feed, too, but leaves no instant behind: the newest entry's instant would be
    earlier. So each response is dated by its own moment, since readers ignore anything older than what they have.
    """
    base = core.settings.public_base_url
    root = Element("feed", {"xmlns": NAMESPACE, "xml:lang": "en"})
    told = chain(feed["events"], feed["planned"], feed["cancelled"], feed["past"])
    _text(root, "id", f"urn:uuid:{uuid5(NAMESPACE_URL, f'{base}/status')}")
    _text(root, "title", f"Status of {core.settings.product_name}: {feed['status']}")
    _text(root, "updated", feed["updated"])
    author = SubElement(root, "author")
    _text(author, "name", core.settings.operator_name or core.settings.manufacturer or core.settings.product_name)
    SubElement(root, "link", {"rel": "self", "type": "application/atom+xml", "href": f"{base}/status.atom"})
    SubElement(root, "link", {"rel": "alternate", "type": "text/html", "href": f"{base}/status.html"})
    SubElement(root, "link", {"rel": "alternate", "type": "application/json", "href": f"{base}/status.json"})
    for one in told:
        _entry(root, one, "cancelled" if one.get("cancelled") else one["status"], feed["updated"], base)
    for one in retracted:
        _entry(root, one, RETRACTED, feed["updated"], base)
    written: bytes = tostring(root, "utf-8")
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + written


def _entry(root: Element, one: dict[str, Any], status: str, now: str, base: str) -> None:
    entry = SubElement(root, "entry")
    _text(entry, "id", one["id"])
    _text(entry, "title", f"{status}: {one['cause']}")
    _text(entry, "updated", one["updated"] or now)
    if published := one.get("announced") or one["start"]:
        _text(entry, "published", published)
    SubElement(entry, "link", {"rel": "alternate", "type": "text/html", "href": f"{base}/status.html"})
    SubElement(entry, "category", {"term": one["kind"]})
    SubElement(entry, "category", {"term": status})
    lines = {
        "Retracted": "this never happened" if status == RETRACTED else None,
        "Start": one["start"] or "not known",
        "End": one["end"] or "not known yet",
        "Cause": one["cause"],
        "Impact": one.get("impact"),
        "Functions": ", ".join(one["functions"]) or "none yet",
        "Endpoints": ", ".join(one["endpoints"]),
        "Contact": one.get("contact"),
    }
    content = SubElement(entry, "content", {"type": "text"})
    content.text = "\n".join(f"{name}: {_printable(value)}" for name, value in lines.items() if value)


def _text(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = _printable(text)


def _printable(text: str) -> str:
    """Text on one line, without characters that XML cannot contain; soft hyphens and joiners stay."""
    return "".join(char if char.isprintable() or category(char) == "Cf" else " " for char in text)
