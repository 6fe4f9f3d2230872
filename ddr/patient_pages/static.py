"""The stylesheet, the icon, the operator's colour and logo: the only files that the patient's pages load."""

from __future__ import annotations

from asyncio import to_thread
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ddr.http.operator import security_txt
from ddr.http.pages import error_page
from ddr.patient_pages.visitor import core_of
from ddr.settings_checks import tint

_FOLDER = Path(__file__).parent / "static"
_TYPES = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}
_FILES = {name: (_FOLDER / name).read_bytes() for name in _TYPES}
_HEADERS = {
    "Cache-Control": "public, max-age=86400",  # a new stylesheet has a new URL (render.py)
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


async def show(request: Request) -> Response:
    """GET /static/{name}"""
    name = request.path_params["name"]
    if name not in _FILES:
        return error_page(request.scope, 404, "not_found")
    return Response(_FILES[name], media_type=_TYPES[name], headers=_HEADERS)


async def icon(request: Request) -> Response:
    """GET /favicon.ico"""
    return Response(_FILES["icon.svg"], media_type=_TYPES["icon.svg"], headers=_HEADERS)


async def colours(request: Request) -> Response:
    """GET /static/operator.css: the operator's colour. Dark mode keeps the page's own colours."""
    colour = core_of(request).settings.operator_colour
    if not colour:
        return error_page(request.scope, 404, "not_found")
    light = f":root {{ --accent: {colour}; --tint: {tint(colour)}; }}"
    text = f"@media (prefers-color-scheme: light) {{ {light} }}\n"
    return Response(text, media_type=_TYPES["style.css"], headers=_HEADERS)


async def logo(request: Request) -> Response:
    """GET /static/logo: the operator's picture."""
    path = core_of(request).settings.operator_logo
    try:
        content = await to_thread(Path(path).read_bytes) if path else b""
    except OSError:
        content = b""
    if not content:
        return error_page(request.scope, 404, "not_found")
    return Response(content, media_type="image/svg+xml" if path.endswith(".svg") else "image/png", headers=_HEADERS)


async def security(request: Request) -> Response:
    """GET /.well-known/security.txt (RFC 9116)"""
    core = core_of(request)
    text = security_txt(core.settings, core.clock())
    if text is None:
        return error_page(request.scope, 404, "not_found")
    return Response(text, media_type="text/plain; charset=utf-8", headers={"X-Content-Type-Options": "nosniff"})
