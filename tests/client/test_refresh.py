"""A refresh uses the old token up: its response is never given up, whatever happens on the way to the disk."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import httpx
import pytest

from ddr.client import FileTokens, Grant, Recorder
from tests.client.foreign import DIGA, PAIRING, Foreign, bundle, chunk

OLD = Grant(PAIRING, "", "r0", "a0", 0)


class Once:
    """A token endpoint that takes each refresh token once, and repeats nothing: HDDT does not ask for that."""

    def __init__(self) -> None:
        self.number, self.asked, self.answers = 0, asyncio.Event(), asyncio.Event()
        self.answers.set()

    async def ask(self, request: httpx.Request) -> httpx.Response:
        foreign = Foreign({"Observation?": bundle(chunk("c"))}, token=self.token)
        if request.url.path == "/token":
            self.asked.set()
            await self.answers.wait()
        return foreign.answer(request)

    def token(self, request: httpx.Request) -> httpx.Response:
        if f"refresh_token=r{self.number}" not in request.content.decode():
            return httpx.Response(400, json={"error": "invalid_grant"})
        self.number += 1
        tokens = {"access_token": f"a{self.number}", "refresh_token": f"r{self.number}", "expires_in": 600}
        return httpx.Response(200, json=tokens)


async def pull(server: Once, tokens: FileTokens) -> list[str]:
    """The ids that a DiGA gets that opens its connections for each pull."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(server.ask)) as http:
        return [one.id async for one in Recorder(DIGA, http, tokens, PAIRING).pull()]


class Full(FileTokens):
    """On a disk that is full from the save with this number on, until it is set to 0."""

    def __init__(self, folder: Path, number: int) -> None:
        super().__init__(folder)
        self.number, self.saved = number, 0

    async def save(self, grant: Grant) -> None:
        self.saved += 1
        if 0 < self.number <= self.saved:
            raise OSError(28, "No space left on device")
        await super().save(grant)


@pytest.mark.parametrize(("first", "used"), [(1, 0), (2, 1)], ids=["before", "amid"])
async def test_a_full_disk_loses_no_pairing(first: int, used: int, tmp_path: Path) -> None:
    """Before: the old token was used up, its successor in no place, and the pairing ended with the next refresh."""
    await FileTokens(tmp_path).save(OLD)
    server, tokens = Once(), Full(tmp_path, first)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            await pull(server, tokens)
        assert (server.number, await tokens.load(PAIRING)) == (used, OLD)
    tokens.number = 0
    assert await pull(server, tokens) == ["c"]
    kept = await tokens.load(PAIRING)
    assert kept is not None and (kept.refresh_token, server.number) == ("r1", 1)


async def test_who_is_cancelled_waits_for_a_refresh_that_was_sent(tmp_path: Path) -> None:
    """Before: the connections were closed on the way out, and the answer came to nobody."""
    tokens, server = FileTokens(tmp_path), Once()
    await tokens.save(OLD)
    server.answers.clear()
    pulling = asyncio.create_task(pull(server, tokens))
    await server.asked.wait()
    for _ in range(2):
        pulling.cancel()
        done, _ = await asyncio.wait({pulling}, timeout=0.1)
        assert not done
    server.answers.set()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    kept = await tokens.load(PAIRING)
    assert kept is not None and kept.refresh_token == "r1"


async def test_who_is_cancelled_before_that_does_not_wait(tmp_path: Path) -> None:
    tokens, server = FileTokens(tmp_path), Once()
    await tokens.save(OLD)
    async with tokens.alone(PAIRING):
        pulling = asyncio.create_task(pull(server, tokens))
        await asyncio.wait({pulling}, timeout=0.1)
        pulling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pulling
    assert server.number == 0


async def test_what_is_being_written_keeps_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: who was cancelled left the block of `alone`, while its thread went on writing the grant."""
    begun, may, tokens = threading.Event(), threading.Event(), FileTokens(tmp_path)

    def write(grant: Grant) -> None:
        begun.set()
        may.wait()

    monkeypatch.setattr(tokens, "_save", write)
    saving = asyncio.create_task(tokens.save(OLD))
    await asyncio.to_thread(begun.wait)
    saving.cancel()
    done, _ = await asyncio.wait({saving}, timeout=0.1)
    may.set()
    assert not done
    with pytest.raises(asyncio.CancelledError):
        await saving
