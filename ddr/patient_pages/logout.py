"""POST /logout: ends the session on the server and in the browser."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from ddr.http.core import Core
from ddr.identity.journey import way_to_logout
from ddr.patient_pages.provider_login import ASKS
from ddr.patient_pages.visitor import FormRefused, core_of, drop_cookie, identify, read_form, see_other
from ddr.store.patients.sessions import close_session


async def submit(request: Request) -> Response:
    """Log out, also at the provider; with `request_uri` (from the consent page) the next login leads on to consent."""
    visitor = await identify(request)
    try:
        form = await read_form(request, visitor)
    except FormRefused as refused:
        if refused.form is None or visitor.session is not None:
            raise
        # Pressed twice, or after another tab: nobody is logged in here any more. Another site may have sent this form,
        # then without a cookie, so the response must not remove one.
        return see_other(await _farewell(core_of(request), refused.form.one("request_uri")))
    await close_session(core_of(request).pool, visitor.cookie)
    request_uri = form.one("request_uri")
    response = see_other(await _farewell(core_of(request), request_uri))
    drop_cookie(response)
    return response


async def _farewell(core: Core, request_uri: str) -> str:
    base_url = core.settings.public_base_url
    if core.identity is None:
        return f"/login?{urlencode({'request_uri': request_uri} if request_uri else {'bye': '1'})}"
    if location := await way_to_logout(core.identity, base_url, request_uri):
        return location
    # The provider still remembers the user. A link leads to it, since its login may be at an origin no form may target.
    return f"/login?{urlencode({'bye': '1', ASKS: '1'} | ({'state': request_uri} if request_uri else {}))}"
