"""A patient logged in at the web pages, in English."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from ddr.demo.browser_user import Form, Page
from tests.support.recorder import PASSWORD, Patient, Recorder

ENGLISH = {"accept": "text/html", "accept-language": "en"}


@dataclass
class PatientPages:
    """A browser with the patient's session."""

    http: httpx.AsyncClient

    async def get(self, path: str) -> httpx.Response:
        """A page."""
        return await self.http.get(path)

    async def submit(self, page: httpx.Response, control: str, **fields: str) -> httpx.Response:
        """Send the form of `page` that has `control`, with its hidden fields and these `fields`."""
        form = form_of(page, control)
        return await self.http.post(form.action or str(page.url), data={**dict(form.hidden), **fields})

    async def withdraw(self, client_id: str, kind: str = "all") -> None:
        """Withdraw one kind of data, or everything of this DiGA, through the form of the page."""
        page = await self.get("/me")
        token = dict(form_of(page, "kind").hidden)["form_token"]
        form = {"form_token": token, "client_id": client_id, "kind": kind}
        assert (await self.http.post("/me/withdraw", data=form)).status_code == 200


def form_of(page: httpx.Response, control: str) -> Form:
    """The form of a page that has this control."""
    form = Page(str(page.url), page.text).form(control)
    assert form is not None, page.text
    return form


async def logged_in(ddr: Recorder, patient: Patient) -> tuple[PatientPages, httpx.Response]:
    """Log the patient in; returns the page that follows."""
    http = await ddr.client(base_url=ddr.settings.public_base_url, headers=ENGLISH, follow_redirects=True)
    pages = PatientPages(http)
    credentials = {"username": patient.username, "password": PASSWORD}
    return pages, await pages.submit(await pages.get("/login"), "username", **credentials)


async def pages_of(ddr: Recorder, patient: Patient) -> PatientPages:
    """Log the patient in."""
    pages, landed = await logged_in(ddr, patient)
    assert landed.url.path == "/me", landed.text
    return pages
