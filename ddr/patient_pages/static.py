"""The stylesheet and the icon: the only files that the patient's pages load."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from ddr.http.pages import error_page

_FOLDER = Path(__file__).parent / "static"
_TYPES = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}
_FILES = {name: (_FOLDER / name).read_bytes() for name in _TYPES}
_HEADERS = {
    "Cache-Control": "public, max-age=86400",  # a new stylesheet has a new address (render.py)
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


async def show(request: Request) -> Response:
    """GET /static/{name}"""
    name = request.path_params["name"]
    if name not in _FILES:
        return error_page(request.scope, 404, "not_found")
    return Response(_FILES[name], media_type=_TYPES[name], headers=_HEADERS)
