"""The links to further pages: what they contain, and who can use them."""

from __future__ import annotations

import base64
from dataclasses import fields

import orjson
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ddr.diga_api.paging import Page, PageLinks
from ddr.fhir.outcome import FhirError
from ddr.fhir.search.query import Include
from ddr.fhir.subset import WHOLE

KEY, HOLDER = bytes(16), "pairing client"
INCLUDE = Include("Observation", "device", None)


def page(asked: list[str] | None) -> Page:
    """The third to the fifth of ten items."""
    return Page("Observation", 7, 2, 3, 10, 12, (INCLUDE,), (), 5_000, 1_000, polled=True, subset=WHOLE, asked=asked)


@pytest.mark.parametrize("asked", [None, ["https://example.org/ValueSet/a"]])
def test_a_link_says_what_it_was_made_of(asked: list[str] | None) -> None:
    links = PageLinks(KEY)
    text = links.seal(page(asked), HOLDER)
    assert links.open(text, HOLDER, 4_999) == page(asked)
    with pytest.raises(FhirError):
        links.open(text, "another pairing", 4_999)
    with pytest.raises(FhirError):
        links.open(text, HOLDER, 5_000)


def test_a_link_of_a_search_for_all_is_as_the_version_before_has_it() -> None:
    """While hosts are upgraded one by one, a DiGA may follow the link at a host of the previous version."""
    sealed = base64.urlsafe_b64decode(PageLinks(KEY).seal(page(None), HOLDER) + "==")
    plain = AESGCM(KEY).decrypt(sealed[:12], sealed[12:], HOLDER.encode())
    content = orjson.loads(plain[4 : 4 + int.from_bytes(plain[:4], "big")])
    assert set(content) == {field.name for field in fields(Page)} - {"asked"}
