"""The patient's pages as one ASGI application."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from ddr.http.asgi import ASGIApp, Receive, Scope, Send
from ddr.http.core import Core
from ddr.http.guard import left_to_guard
from ddr.http.pages import error_page
from ddr.identity.errors import ProviderUnavailable
from ddr.patient_pages import (
    access,
    connections,
    consent,
    data,
    deletion,
    devices,
    download,
    file,
    gateway_apps,
    login,
    logout,
    person,
    provider_login,
    provider_logout,
    representation,
    research,
    review,
    static,
)
from ddr.patient_pages.table_forms import Exact, Excel
from ddr.patient_pages.visitor import PatientEndpoint, Refused, Visitor, for_patients, refused, right_over, see_other
from ddr.store.audit.acting import ACTING, RightOver
from ddr.store.patients.sessions import Session

FILE_PATH = "/me/devices/file"


async def home(request: Request) -> Response:
    """GET /: the patient's first page, which leads to the login."""
    return see_other("/me")


def submitted(path: str, endpoint: PatientEndpoint, page: str) -> list[Route]:
    """A form of `page` that is posted to a path of its own. A GET of that path redirects to the page.

    After an error or a response the path stands in the browser's address bar, and phones load it again when they have
    dropped the tab.
    """

    async def again(request: Request, _: Visitor, __: Session) -> Response:
        return see_other(page)

    return [Route(path, for_patients(again), methods=["GET"]), Route(path, for_patients(endpoint), methods=["POST"])]


BUILTIN_LOGIN = [
    Route("/login", login.show, methods=["GET"]),
    Route("/login", login.submit, methods=["POST"]),
]
PROVIDER_LOGIN = [
    Route("/login", provider_login.show, methods=["GET"]),
    Route("/login/confirm", for_patients(provider_login.confirm), methods=["GET"]),
    Route("/login/callback", provider_login.callback, methods=["GET"]),
    Route(provider_logout.PATH, provider_logout.submit, methods=["POST"]),
]
PAGES = [
    Route("/logout", home, methods=["GET"]),
    Route("/logout", logout.submit, methods=["POST"]),
    Route("/consent", consent.show, methods=["GET"]),
    Route("/consent", consent.submit, methods=["POST"]),
    Route("/", home, methods=["GET"]),
    Route("/me", for_patients(connections.show), methods=["GET"]),
    *submitted("/me/withdraw", connections.submit, "/me"),
    Route("/me/access", for_patients(access.show), methods=["GET"]),
    Route("/me/access", for_patients(access.choose), methods=["POST"]),
    Route("/me/devices", for_patients(devices.show), methods=["GET"]),
    *submitted("/me/devices/connect", gateway_apps.connect, "/me/devices"),
    *submitted("/me/devices/disconnect", gateway_apps.disconnect, "/me/devices"),
    Route(FILE_PATH, for_patients(file.show), methods=["GET"]),
    Route(FILE_PATH, for_patients(file.give), methods=["POST"]),
    *submitted(f"{FILE_PATH}/take", file.take, FILE_PATH),
    *submitted(f"{FILE_PATH}/back", file.take_back, "/me/devices"),
    Route("/me/data", for_patients(data.show), methods=["GET"]),
    Route("/me/data", for_patients(data.choose), methods=["POST"]),
    Route("/me/data/values", for_patients(data.values_page), methods=["GET"]),
    Route("/me/data/{place}", for_patients(data.show), methods=["GET"]),
    Route("/me/data.csv", for_patients(partial(download.measured, form=Exact())), methods=["GET"]),
    Route("/me/data-excel.csv", for_patients(partial(download.measured, form=Excel())), methods=["GET"]),
    Route("/me/data.json", for_patients(download.as_fhir), methods=["GET"]),
    Route("/me/consents.csv", for_patients(download.consents), methods=["GET"]),
    Route("/me/consents-excel.csv", for_patients(partial(download.consents, excel=True)), methods=["GET"]),
    Route("/me/accesses.csv", for_patients(download.accesses), methods=["GET"]),
    Route("/me/accesses-excel.csv", for_patients(partial(download.accesses, excel=True)), methods=["GET"]),
    Route("/me/person", for_patients(person.show), methods=["GET"]),
    Route("/me/person", for_patients(person.choose, person.login_first), methods=["POST"]),
    Route("/me/representation", for_patients(representation.show), methods=["GET"]),
    Route("/me/review", for_patients(review.show), methods=["GET"]),
    Route("/me/review", for_patients(review.submit), methods=["POST"]),
    Route("/me/delete", for_patients(deletion.show), methods=["GET"]),
    Route("/me/delete", for_patients(deletion.submit), methods=["POST"]),
    Route("/deleted", deletion.done, methods=["GET"]),
    Route("/static/operator.css", static.colours, methods=["GET"]),
    Route("/static/logo", static.logo, methods=["GET"]),
    Route("/static/{name}", static.show, methods=["GET"]),
    Route("/favicon.ico", static.icon, methods=["GET"]),
    Route("/.well-known/security.txt", static.security, methods=["GET"]),
]
# Only with the setting `research`.
RESEARCH = [
    Route("/me/research", for_patients(research.show), methods=["GET"]),
    Route("/me/research", for_patients(research.submit), methods=["POST"]),
]


def create_consent(core: Core) -> ASGIApp:
    """/login…, /logout, /consent, /me… and /static/…; the login is the provider's, or the built-in one if allowed."""
    builtin = BUILTIN_LOGIN if core.settings.allow_builtin_accounts else []
    app = Starlette(
        routes=[*(PROVIDER_LOGIN if core.identity else builtin), *PAGES, *(RESEARCH if core.settings.research else [])],
        exception_handlers={
            Refused: refused,
            RightOver: right_over,
            ProviderUnavailable: provider_login.unavailable,
            HTTPException: _no_such_page,
            Exception: left_to_guard,
        },
    )
    app.router.redirect_slashes = False  # its redirects repeat the Host header
    app.state.core = core
    return _in_own_name(app)


def _in_own_name(app: ASGIApp) -> ASGIApp:
    """Nobody acts for anybody when a request begins, and nothing of it remains when it ends."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        token = ACTING.set(None)
        try:
            await app(scope, receive, send)
        finally:
            ACTING.reset(token)

    return called


async def _no_such_page(request: Request, error: Exception) -> Response:
    """No such path, or no such method for this path."""
    assert isinstance(error, HTTPException)
    headers = {"Allow": _methods_of(request)} if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else {}
    return error_page(request.scope, error.status_code, "not_found", headers)


def _methods_of(request: Request) -> str:
    """All methods of this path: GET and POST have separate routes, and Starlette names only those of the first."""
    routes = (route for route in request.app.routes if isinstance(route, Route))
    found = [route.methods or () for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for methods in found for method in methods}))
