"""POST /logout: ends the session on the server and in the browser."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from ddr.consent.visitor import core_of, drop_cookie, identify, read_form, see_other
from ddr.store.sessions import close_session


async def submit(request: Request) -> Response:
    """Log out; with `request_uri` (from the consent page) the login stays on the way to consent."""
    visitor = await identify(request)
    form = await read_form(request, visitor)
    await close_session(core_of(request).pool, visitor.cookie)
    request_uri = form.one("request_uri")
    response = see_other(f"/login?{urlencode({'request_uri': request_uri} if request_uri else {'bye': 1})}")
    drop_cookie(response)
    return response
