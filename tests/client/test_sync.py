"""The client without async: threads, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import httpx
import pytest

from ddr.client import Diga, FileTokens, Grant
from ddr.client.sync import Client
from tests.client.foreign import DIGA, FHIR, ISSUER, PAIRING, Foreign, bundle, chunk


class Slow(Diga):
    """Its recorder takes its time for tokens."""

    asked, may = threading.Event(), threading.Event()

    def http(self) -> httpx.AsyncClient:
        foreign = Foreign({"Observation?": bundle(chunk("c"))})

        async def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/token":
                self.asked.set()
                await asyncio.to_thread(self.may.wait)
            return foreign.answer(request)

        return httpx.AsyncClient(transport=httpx.MockTransport(answer))


async def test_a_series_says_what_the_recorder_did_not_show(tmp_path: Path) -> None:
    class Limited(Diga):
        def http(self) -> httpx.AsyncClient:
            return Foreign({"Observation?": bundle(chunk("a"), total=3)}).http()

    tokens = FileTokens(tmp_path)
    await tokens.save(Grant(PAIRING, "", "r0", "a0", 4e9))
    diga = Limited(DIGA.client_id, DIGA.redirect_uri, ISSUER, FHIR, Path("cert"), Path("key"))

    def read() -> tuple[int, int]:
        with Client(diga, tokens) as client:
            found = client.series(PAIRING)
        return len(found.observations), found.unshown

    assert await asyncio.to_thread(read) == (1, 2)


async def test_a_client_that_is_closed_amid_a_refresh_waits_for_it(tmp_path: Path) -> None:
    """Before: its answer was lost, and the thread that had asked waited for ever."""
    tokens, told = FileTokens(tmp_path), list[Any]()
    await tokens.save(Grant(PAIRING, "", "r0", "a0", 0))
    diga = Slow(DIGA.client_id, DIGA.redirect_uri, ISSUER, FHIR, Path("cert"), Path("key"))
    client = Client(diga, tokens).open()

    def pull() -> None:
        try:
            told.extend(client.steps(PAIRING))
        except CancelledError as error:
            told.append(error)

    pulling, closing = threading.Thread(target=pull, daemon=True), threading.Thread(target=client.close, daemon=True)
    pulling.start()
    await asyncio.to_thread(diga.asked.wait)
    closing.start()
    await asyncio.to_thread(closing.join, 0.1)
    assert closing.is_alive()
    diga.may.set()
    await asyncio.to_thread(closing.join)
    await asyncio.to_thread(pulling.join)
    kept = await tokens.load(PAIRING)
    assert kept is not None and kept.refresh_token == "r1" and [type(one) for one in told] == [CancelledError]


def test_a_client_that_cannot_be_opened_leaves_nothing_behind(tmp_path: Path) -> None:
    """Before: an event loop that nobody closed."""
    lost = Diga(DIGA.client_id, DIGA.redirect_uri, ISSUER, FHIR, tmp_path / "cert", tmp_path / "key")
    gc.collect()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(FileNotFoundError):
            Client(lost, FileTokens(tmp_path)).open()
        gc.collect()
    assert not [one for one in warned if "event loop" in str(one.message)]


async def test_a_client_that_is_not_open_says_so(tmp_path: Path) -> None:
    """Before: an attribute that is not there, or an event loop of which nobody knew, and warnings of coroutines."""
    client = Client(
        Slow(DIGA.client_id, DIGA.redirect_uri, ISSUER, FHIR, Path("cert"), Path("key")), FileTokens(tmp_path)
    )

    def ask() -> None:
        for one in (client.pairings, lambda: client.start(["x"]), lambda: client.series(PAIRING)):
            with pytest.raises(RuntimeError, match="not open: use `with Client"):
                one()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await asyncio.to_thread(ask)
        await asyncio.to_thread(lambda: client.open().close())
        await asyncio.to_thread(client.close)
        await asyncio.to_thread(ask)
