"""Pages from templates: escaped, in the patient's language, with the security headers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from ddr.http.language import language, other_language, remember_language
from ddr.http.operator import Operator
from ddr.http.pages import STYLESHEET, operator_links, page_headers
from ddr.http.templates import templates
from ddr.patient_pages.dates import clock_time, day, moment, short_moments, time_of_day, told_time, told_times
from ddr.patient_pages.numbers import counted
from ddr.patient_pages.texts import template, text
from ddr.patient_pages.texts.representation import role_name
from ddr.patient_pages.visitor import Visitor, core_of, set_cookie

_HERE = Path(__file__).parent
_TEMPLATES = templates(_HERE / "templates")
# The hash makes browsers fetch a changed stylesheet at once although they cache the old one.
_STYLE = f"{STYLESHEET}?v={hashlib.sha256((_HERE / 'static' / 'style.css').read_bytes()).hexdigest()[:12]}"


NAMES = {
    "app",
    "diga",
    "manufacturer",
    "devices",
    "person",
    "recipient",
    "project",
    "reference",
    "exported_by",
}  # placeholders filled with names given by others


def marked(lang: str, name: str, **values: object) -> Markup:
    """The text `name` as HTML. Names are isolated in their writing direction, so that they cannot reverse their
    surroundings."""
    filled = {key: isolated(value) if key in NAMES else value for key, value in values.items()}
    if isinstance(count := values.get("count"), int):
        filled["count"] = counted(lang, count)
    return escape(template(lang, name)).format(**filled)


def isolated(name: object) -> Markup:
    """A name given by others within a text of ours."""
    return Markup("<bdi>{}</bdi>").format(name)


def page(
    request: Request,
    visitor: Visitor,
    template: str,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    form_targets: Iterable[str] = (),
    **content: Any,
) -> HTMLResponse:
    """The page `template` with `content`; `form_targets` are CSP sources that its forms may lead to."""
    lang, identity, settings = language(request.scope), core_of(request).identity, core_of(request).settings
    operator = Operator.of(settings)
    body = _TEMPLATES.get_template(template).render(
        lang=lang,
        t=partial(marked, lang),
        plain=partial(text, lang),
        day=partial(day, lang),
        moment=partial(moment, lang),
        counted=partial(counted, lang),
        short_moments=partial(short_moments, lang),
        time_of_day=time_of_day,
        clock_time=partial(clock_time, lang),
        told_time=partial(told_time, lang),
        told_times=partial(told_times, lang),
        stylesheet=_STYLE,
        colours=operator.colours,
        operator=operator,
        operator_links=operator_links(operator, lang),
        switch=_switch(request, lang),
        path=request.url.path,
        session=visitor.session,
        role_name=partial(role_name, lang),
        research=settings.research,
        form_token=visitor.form_token,
        **content,
    )
    targets = (*form_targets, *([identity.origin] if identity else []))  # a logout leads to the provider
    response = HTMLResponse(body, status, headers=page_headers(targets) | (headers or {}))
    remember_language(request.scope, response)
    if visitor.is_new:
        set_cookie(response, visitor.cookie)
    return response


def _switch(request: Request, lang: str) -> str:
    """The URL of this page in the other language; "" after a form, which a link cannot send again."""
    if request.method not in ("GET", "HEAD"):
        return ""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "lang"]
    return f"{request.url.path}?{urlencode([*kept, ('lang', other_language(lang))])}"
