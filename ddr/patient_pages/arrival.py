"""Where a login leads: to the pages, or to the consent that a DiGA waits for; before that, to pending decisions."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from ddr.http.core import Core
from ddr.patient_pages.visitor import moment
from ddr.store.authorization.reviews import awaits

PERSON, REVIEW = "/me/person", "/me/review"


async def first_page(core: Core, login_id: UUID, request_uri: str) -> str:
    """The first page after a login; `request_uri` is that of the waiting DiGA, or empty."""
    waiting = await awaits(core.pool, login_id, moment(core))
    if waiting.review:
        return with_request(REVIEW, request_uri)
    return with_request(PERSON, request_uri) if waiting.choice else onward(request_uri)


def onward(request_uri: str) -> str:
    """The page that the user came for."""
    return with_request("/consent" if request_uri else "/me", request_uri)


def with_request(path: str, request_uri: str) -> str:
    """The URL of a page that leads on to a DiGA's request, if there is one.

    Forms are sent to it as well: after an error it stands in the browser's address bar, and phones load it again when
    they have dropped the tab.
    """
    return f"{path}?{urlencode({'request_uri': request_uri})}" if request_uri else path
