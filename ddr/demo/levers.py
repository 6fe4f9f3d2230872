"""What tests change around the recorder: the time, and whether the DiGA-VZ lists a DiGA.

Each function returns when the recorder has noticed the change. For a demonstration with one worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Literal

import httpx

from ddr.demo import clock
from ddr.demo.cast import CastDiga
from ddr.demo.registry_file import load, save
from ddr.demo.registry_state import ListedDiga
from ddr.demo.stack import DemoStack
from ddr.store.registries.sources import read_sources

WAIT_SECONDS = 60
LOOK_SECONDS = 0.1
EXACT_SECONDS = 2.0
OLD_SECONDS = 1800  # age of a registry reading: half of what the demonstration allows
PLANNED_MS = 300_000  # a finished reading plans the next one later than this; a running or failed one does not
Listing = Literal["active", "retired", "absent"]


async def set_clock(stack: DemoStack, ahead_seconds: float) -> None:
    """Set the recorder's clock this far ahead of the real one (Options.clock). Registries that become stale are read
    again. Raises TimeoutError."""
    await clock.step(stack.database_url, ahead_seconds)

    async def followed() -> bool:
        answer = await stack.http.get(
            f"{stack.settings.public_base_url}/status", headers={"accept": "application/json"}
        )
        told = datetime.fromisoformat(answer.json()["updated"]).timestamp()
        return abs(told - time.time() - ahead_seconds) < EXACT_SECONDS

    await _until(followed)
    if any(
        _age_ms(one.seen_ms, ahead_seconds) > OLD_SECONDS * 1000 for one in (await read_sources(stack.pool)).values()
    ):
        await _read_registries(stack, ahead_seconds)


async def set_listing(stack: DemoStack, diga: CastDiga, listing: Listing, ahead_seconds: float = 0.0) -> None:
    """Set the entry of `diga` in the DiGA-VZ; `ahead_seconds` as the clock was set. Raises TimeoutError."""
    state = load(file := stack.options.state_dir / "registry.json")
    others = [one for one in state.digas if one.client_id != diga.client_id]
    entry: list[ListedDiga] = []
    if listing != "absent":
        entry = [replace(stack.listed(diga), status=listing)]
    state.digas = [*others, *entry]
    save(state, file)
    await _read_registries(stack, ahead_seconds)
    client = await stack.diga(diga)
    form = {"grant_type": "refresh_token", "client_id": diga.client_id, "refresh_token": "none"}

    async def known() -> bool:
        try:
            answer = await client.http.post(f"{stack.settings.diga_base_url}/oauth/token", data=form)
        except httpx.TransportError:  # its certificate is no longer known
            return listing != "active"
        found: bool = answer.json().get("error") == "invalid_grant"
        return found == (listing == "active")

    await _until(known)


async def _read_registries(stack: DemoStack, ahead_seconds: float) -> None:
    await stack.refresh_registry()

    async def read() -> bool:
        sources = (await read_sources(stack.pool)).values()
        return all(-_age_ms(one.next_ms, ahead_seconds) > PLANNED_MS for one in sources)

    await _until(read)


def _age_ms(instant_ms: int, ahead_seconds: float) -> float:
    return (time.time() + ahead_seconds) * 1000 - instant_ms


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await true():  # noqa: ASYNC110 - another process cannot notify us
            await asyncio.sleep(LOOK_SECONDS)
