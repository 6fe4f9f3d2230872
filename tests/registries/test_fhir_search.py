"""Searchsets of a malfunctioning registry: each is a reported fault, and its cost is limited."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import orjson
import pytest

from ddr.registries import fhir_search
from ddr.registries.errors import RegistryFault
from ddr.registries.fhir_search import Known, search_all

URL = "https://vz.example/fhir/DeviceDefinition"
ONE: dict[str, Any] = {"resourceType": "DeviceDefinition", "id": "1"}
TWO: dict[str, Any] = {"resourceType": "DeviceDefinition", "id": "2"}

Pages = Callable[[httpx.Request], httpx.Response]
Headers = Mapping[str, Any] | None


def page(*resources: Mapping[str, Any], following: str = "", headers: Headers = None) -> httpx.Response:
    links = [{"relation": "next", "url": following}] if following else []
    entries = [{"resource": one} for one in resources]
    return raw(orjson.dumps({"resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries}), headers)


def raw(body: bytes, headers: Headers = None) -> httpx.Response:
    return httpx.Response(200, headers=headers, stream=httpx.ByteStream(body))


async def found(answer: Pages, known: Known | None = None) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        return await search_all(http, URL, {}, known)


async def test_a_tag_that_no_header_of_ours_can_hold_is_not_sent_back() -> None:
    """RFC 9110 section 8.8.3 lets a tag have it; each later reading failed before it was asked."""
    known: Known = {}
    for _ in range(2):
        assert await found(lambda _: page(ONE, headers={"etag": b'"\xfc"'}), known) == [ONE]


@pytest.mark.parametrize("link", ["https://[", "https://vz.example:99999/", "/page\x00", "/" + "x" * 70_000])
async def test_a_link_that_is_no_address_is_a_fault_of_the_registry(link: str) -> None:
    with pytest.raises(RegistryFault, match="a paging link is not an address"):
        await found(lambda _: page(ONE, following=link))


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "deflate"])
async def test_what_is_packed_otherwise_than_asked_for_is_not_unpacked(encoding: str) -> None:
    """Packed twice, noughts come a million to one: what is too long was gigabytes before anybody looked."""
    with pytest.raises(RegistryFault, match="encoded otherwise"):
        await found(lambda _: raw(gzip.compress(gzip.compress(b" " * 10**6)), {"content-encoding": encoding}))


async def test_what_is_packed_tightly_is_unpacked_as_far_as_it_may_be_long() -> None:
    packed = gzip.compress(b" " * 200_000_000)
    tracemalloc.start()
    with pytest.raises(RegistryFault, match="larger than"):
        await found(lambda _: raw(packed, {"content-encoding": "gzip"}))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 * fhir_search.MAX_PAGE_BYTES


async def test_a_packed_answer_is_read_and_one_that_is_cut_off_is_none() -> None:
    packed = gzip.compress(orjson.dumps({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": ONE}]}))
    assert await found(lambda _: raw(packed, {"content-encoding": "gzip"})) == [ONE]
    for broken in (packed[:-8], b"", b"no gzip"):
        with pytest.raises(RegistryFault, match=r"cut off|not gzip"):
            await found(lambda _, broken=broken: raw(broken, {"content-encoding": "gzip"}))  # type: ignore[misc]


async def test_pages_without_end_are_read_no_further_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fhir_search, "MAX_BYTES", 10_000)
    asked = list[str]()

    def more(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return page({**ONE, "note": "x" * 3000}, following=f"/fhir/DeviceDefinition?page={len(asked)}")

    with pytest.raises(RegistryFault, match="larger than 10000 bytes"):
        await found(more)
    assert len(asked) == 4


@pytest.mark.parametrize("kind", ["Organization", "OperationOutcome", None])
async def test_an_answer_about_something_else_is_none(kind: str | None) -> None:
    with pytest.raises(RegistryFault, match="the response contains no DeviceDefinition"):
        await found(lambda _: page({"resourceType": kind, "id": "1"}, {"id": "2"}))
    assert await found(lambda _: page(ONE, {"resourceType": kind, "id": "2"})), "a stranger among others is no reason"


async def test_what_comes_twice_because_pages_have_shifted_counts_once() -> None:
    changed = {**TWO, "note": "another"}
    pages = [page(ONE, TWO, following="/fhir/DeviceDefinition?page=2"), page(TWO, changed, {}, {})]
    assert await found(lambda _: pages.pop(0)) == [ONE, TWO, changed, {}]
