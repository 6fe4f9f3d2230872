"""Forms of an HTML page, and CSS selectors for their fields: tag, #id, .class, [name], [name=value]."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

_PART = re.compile(r"#(?P<id>[\w-]+)|\.(?P<class>[\w-]+)|\[(?P<name>[\w-]+)(?:=[\"']?(?P<value>[^\]\"']*)[\"']?)?\]")
_COMPOUND = re.compile(r"(?P<tag>[a-zA-Z][\w-]*|\*)?(?P<parts>(?:#[\w-]+|\.[\w-]+|\[[^\]]+\])*)")


class SelectorError(ValueError):
    """An unsupported selector."""


@dataclass(frozen=True)
class Control:
    """A field, box, list or button; `value` of a list is that of its selected option."""

    tag: str
    attributes: dict[str, str]

    @property
    def kind(self) -> str:
        """The type of an input; button and select have kinds of their own."""
        default = "submit" if self.tag == "button" else "text"
        return self.tag if self.tag in ("select", "textarea") else self.attributes.get("type", default).lower()


@dataclass
class Form:
    """One form of a page."""

    action: str
    method: str
    controls: list[Control] = field(default_factory=list)

    def first(self, selector: str) -> Control | None:
        """The first control that matches the selector."""
        return next((one for one in self.controls if matches(one, selector)), None)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open: Form | None = None
        self._select: Control | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Form(given.get("action", ""), given.get("method", "get").lower())
            self.forms.append(self._open)
        elif self._open is None:
            return
        elif tag in ("input", "button", "textarea", "select"):
            control = Control(tag, given)
            self._open.controls.append(control)
            self._select = control if tag == "select" else None
        elif tag == "option" and self._select and ("selected" in given or "value" not in self._select.attributes):
            self._select.attributes["value"] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
        elif tag == "select":
            self._select = None


def forms(html: str) -> list[Form]:
    """The forms of a page, in order."""
    parser = _Parser()
    parser.feed(html)
    return parser.forms


def matches(control: Control, selector: str) -> bool:
    """Whether one of the selectors, separated by commas, matches this control. Raises SelectorError."""
    return any(_matches(control, one.strip()) for one in selector.split(","))


def _matches(control: Control, selector: str) -> bool:
    found = _COMPOUND.fullmatch(selector)
    if not selector or found is None:
        raise SelectorError(f"{selector!r}: only tag, #id, .class, [name] and [name=value] are understood")
    tag, given = found["tag"], control.attributes
    if tag and tag != "*" and tag.lower() != control.tag:
        return False
    return all(_part(given, part) for part in _PART.finditer(found["parts"]))


def _part(given: dict[str, str], part: re.Match[str]) -> bool:
    if part["id"]:
        return given.get("id") == part["id"]
    if part["class"]:
        return part["class"] in given.get("class", "").split()
    return part["name"] in given and part["value"] in (None, given[part["name"]])
