"""A database that is reached by a name: with an address that is silent, and while the name cannot be looked up."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ddr.store.database import reaching
from ddr.store.database.errors import DatabaseAway
from ddr.store.database.faults import FAULTS
from ddr.store.database.limits import BACKGROUND
from ddr.store.database.pool import CACHED_STATEMENTS, Pool, connect, opened
from ddr.store.database.reaching import HOST_SECONDS
from ddr.store.database.servers import Servers
from tests.support.relay import Relay

NAME = "db.example"
PID = "SELECT pg_backend_pid()"


class Lookups:
    """What NAME is found out to be: `ports` of this machine, unless there is an `error`; it waits for `answers`."""

    def __init__(self) -> None:
        self._others = socket.getaddrinfo
        self.ports: list[int] = []
        self.error: OSError | None = None
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self, host: Any, *more: Any, **by_name: Any) -> list[Any]:
        if host != NAME:  # of the relay's own server
            return self._others(host, *more, **by_name)
        self.answers.wait(60)
        if self.error is not None:
            raise self.error
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in self.ports]


@pytest.fixture
async def relay(database_url: str) -> AsyncIterator[Relay]:
    async with Relay(database_url).running() as running:
        yield running


@pytest.fixture
def lookups(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lookups]:
    """Of the machine, from now on."""
    found = Lookups()
    monkeypatch.setattr(socket, "getaddrinfo", found)
    yield found
    found.answers.set()


def port_of(relay: Relay) -> int:
    return int(relay.url.rpartition(":")[2].partition("/")[0])


def named(relay: Relay) -> str:
    return relay.url.replace("127.0.0.1", NAME)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where who connects hears nothing: its queue is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
async def closing() -> AsyncIterator[int]:
    """A port where connections are accepted and closed, as by a pooler without its server."""
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def anew(pool: Pool) -> int:
    """The process that serves a new connection."""
    await pool.expire_connections()
    found: int = await pool.fetchval(PID)
    return found


async def test_a_silent_address_is_passed_over(relay: Relay, lookups: Lookups, silent: int) -> None:
    lookups.ports = [silent, port_of(relay)]
    async with await connect(named(relay), 1) as pool:
        assert await pool.fetchval(PID) != await anew(pool)


async def test_an_address_that_only_accepts_is_the_last_one_next_time(
    relay: Relay, lookups: Lookups, closing: int
) -> None:
    lookups.ports = [closing, port_of(relay)]
    servers = Servers(named(relay))
    with pytest.raises(DatabaseAway):
        await opened(servers, 1, BACKGROUND, CACHED_STATEMENTS)
    async with await opened(servers, 1, BACKGROUND, CACHED_STATEMENTS) as pool:
        assert await pool.fetchval(PID)


async def test_a_statement_is_ended_at_the_address_of_its_connection(
    relay: Relay, lookups: Lookups, silent: int, closing: int
) -> None:
    lookups.ports = [silent, port_of(relay)]
    async with await connect(named(relay), 1) as pool, pool.acquire() as connection:
        lookups.ports = [closing, port_of(relay)]
        before = await connection.fetchval(PID)
        with pytest.raises(TimeoutError):
            await connection.fetchval("SELECT pg_sleep(60)", timeout=0.1)
        assert await connection.fetchval(PID) == before and not connection._cancellations


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_AGAIN, "later"), None])
async def test_former_addresses_hold_while_a_name_is_not_looked_up(
    relay: Relay, lookups: Lookups, error: OSError | None
) -> None:
    lookups.ports = [port_of(relay)]
    async with await connect(named(relay), 1) as pool:
        before = await pool.fetchval(PID)
        if error is None:
            lookups.answers.clear()
        lookups.error = error
        assert await anew(pool) != before


async def test_the_first_lookup_may_take_longer_than_connecting(relay: Relay, lookups: Lookups) -> None:
    """As when the first name server is down, and the second one is asked after seconds."""
    lookups.ports = [port_of(relay)]
    lookups.answers.clear()
    asyncio.get_running_loop().call_later(HOST_SECONDS + 0.5, lookups.answers.set)
    async with await connect(named(relay), 1) as pool:
        assert await pool.fetchval(PID)


async def test_a_name_server_that_is_silent_is_told(
    relay: Relay, lookups: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaching, "FIRST_SECONDS", 0.1)
    lookups.answers.clear()
    with pytest.raises(DatabaseAway, match="Temporary failure in name resolution"):
        await connect(named(relay), 1)


async def test_a_name_that_is_gone_leads_nowhere(relay: Relay, lookups: Lookups) -> None:
    """Its server may have been fenced so."""
    lookups.ports = [port_of(relay)]
    async with await connect(named(relay), 1) as pool:
        lookups.error = socket.gaierror(socket.EAI_NONAME, "no such name")
        with pytest.raises(FAULTS, match="no such name"):
            await anew(pool)
