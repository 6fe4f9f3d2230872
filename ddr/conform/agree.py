"""Compares what a search finds with what it must find, according to everything read before."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from ddr.conform.found import Found
from ddr.conform.laws.naive import Case
from ddr.conform.verdict import Failed, NotRun
from ddr.conform.view import Circle, View

NO_PAGES = "_count ends the search: there are no further pages, although HDDT recommends them"


def query(**parameters: str) -> str:
    """Parameters as a query string; `__` in a name stands for a hyphen."""
    return urlencode({name.replace("__", "-"): value for name, value in parameters.items()})


def literal(text: str) -> str:
    """A text as the value of a parameter, with its special characters escaped (FHIR R4 search.html#escaping)."""
    return re.sub(r"([\\,$|])", r"\\\1", text)


def agree(view: View, kind: str, case: Case) -> Found:
    """The search must find exactly what `case` wants, over all pages. Raises Failed, NotRun.

    New data may arrive meanwhile: on a difference everything is read again, once, and compared again.
    """
    for again in (False, True):
        everything = view.again(kind) if again else view.listed(kind)
        wanted = sorted(str(one.get("id")) for one in everything.matches if case.wanted(one))
        found = answered(view, kind, case.query)
        ids = sorted(str(one.get("id")) for one in found.matches)
        free = {str(one.get("id")) for one in everything.matches if case.open(one)}
        if cut(everything, found):  # a limited number of matching resources, and no others
            free |= set(wanted) - set(ids)
        if [one for one in ids if one not in free] == [one for one in wanted if one not in free]:
            return found
    missing, extra = sorted(set(wanted) - set(ids) - free), sorted(set(ids) - set(wanted) - free)
    text = f"{view.name}: {kind}?{case.query} finds {len(ids)}, {len(wanted)} fit"
    if missing:
        text += f"; missing {kind}/{missing[0]}"
    if extra:
        text += f"; not fitting {kind}/{extra[0]}"
    raise Failed(text, *found.pages[:2])


def answered(view: View, kind: str, text: str) -> Found:
    """All pages of a search that must succeed. Raises Failed."""
    try:
        return view.all_pages(f"{kind}?{text}", counted=kind == "Observation")
    except Circle as error:
        raise Failed(f"{kind}?{text}: {error.text}", *error.shown) from None
    except NotRun as error:
        if error.shown:
            raise Failed(f"{kind}?{text} is not answered with a Bundle", *error.shown) from None
        raise


def unpaged(view: View, kind: str, found: Found, size: int) -> bool:
    """Whether a search ends at its `_count`, and the recorder shows no pages at all. Pages are only recommended (HDDT
    retrieving-data.md#paging), and without them a server returns no more than requested (FHIR R4 search.html)."""
    everything = view.listed(kind)
    ended = len(found.matches) == min(size, everything.most or size)
    return ended and len(found.pages) == len(everything.pages) == 1


def cut(everything: Found, found: Found) -> bool:
    """Whether there may be more than a search returned: as much as the recorder returns at once, without pages."""
    return 0 < everything.most <= len(found.matches) and len(found.pages) == 1
