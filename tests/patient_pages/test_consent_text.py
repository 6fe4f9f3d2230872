"""The text that a patient agreed to: the proof keeps what the page said, in the language in which it was read."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest

from ddr.http.core import Core
from ddr.patient_pages.consent_text import VERSION
from tests.patient_pages.browser import Browser, inputs
from tests.patient_pages.test_consent import CGM, PRESSURE, consents, logged_in, scope
from tests.support.patients import Patient, add_device, list_diga, push_request
from tests.support.proofs import records


def digest(html: str) -> str:
    """The hidden name of the text."""
    return next(str(one["value"]) for one in inputs(html) if one.get("name") == "text")


async def decided(core: Core, lang: str) -> tuple[Patient, Browser, str, int]:
    """A patient who read and agreed; the page, and the status of the answer."""
    patient, browser = await logged_in(core, lang)
    for miv in (CGM, PRESSURE):
        await add_device(core, patient, f"Device for {miv}", miv, f"SN-{miv}")
    request_uri = await push_request(core, list_diga(core), CGM, PRESSURE)
    page = await browser.consent_page(request_uri)
    other = "en" if lang == "de" else "de"
    browser.http.headers["accept-language"] = other  # what counts is what was read, not what is asked for now
    named = {"request_uri": request_uri, "decision": "approve", "days": "30", "text": digest(page.text)}
    response = await browser.post("/consent", page, ("scope", scope(core, CGM)), **named)
    return patient, browser, page.text, response.status_code


@pytest.mark.requirement("PRIV-008", "CON-001")
@pytest.mark.parametrize("lang", ["de", "en"])
async def test_the_proof_holds_the_words_of_the_page(core: Core, lang: str) -> None:
    patient, _, html, status = await decided(core, lang)
    assert status == 303
    (proof,) = await records(core.pool, patient.patient_id)
    assert (proof["language"], proof["version"], proof["act"]) == (lang, VERSION, "given")
    said = " ".join(unescape(re.sub(r"<[^>]*>", "", html)).split())
    for line in proof["content"].splitlines():
        for part in re.split(r"…|: |\] \[", line.strip("-[] ")):
            assert " ".join(part.split()) in said
    assert patient.username not in proof["content"] and "Device for" not in proof["content"]
    assert "text" in html and proof["text_sha256"].hex() == digest(html)


async def test_a_page_that_changed_meanwhile_is_read_again(core: Core) -> None:
    patient, browser = await logged_in(core)
    diga = list_diga(core)
    request_uri = await push_request(core, diga, CGM)
    page = await browser.consent_page(request_uri)
    core.registry.add(replace(diga, name="Another name"))  # type: ignore[attr-defined]
    named = {"request_uri": request_uri, "decision": "approve", "days": "30", "text": digest(page.text)}
    again = await browser.post("/consent", page, ("scope", scope(core, CGM)), **named)
    assert again.status_code == 422 and "hat sich inzwischen geändert" in again.text
    assert await consents(core, patient) == {}
    named["text"] = digest(again.text)
    assert (await browser.post("/consent", again, ("scope", scope(core, CGM)), **named)).status_code == 303
    (proof,) = await records(core.pool, patient.patient_id)
    assert "Another name" in proof["content"]


async def test_a_refusal_needs_no_text(core: Core) -> None:
    _, browser = await logged_in(core)
    request_uri = await push_request(core, list_diga(core), CGM)
    page = await browser.consent_page(request_uri)
    named = {"request_uri": request_uri, "decision": "deny", "text": "0" * 64}
    assert (await browser.post("/consent", page, **named)).status_code == 303
