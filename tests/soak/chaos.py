"""What goes wrong in the soak: kills, stops, steps of the clock, a malfunctioning registry; alternating with calms."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import asyncpg

from ddr.demo import clock
from ddr.demo.registry_state import Fault
from ddr.demo.stack import DemoStack
from tests.gateway.durability import Database
from tests.soak.ledger import Ledger
from tests.support.processes import children, send

STORM_SECONDS, CALM_SECONDS = 25.0, 25.0
STEPS = (-600.0, -60.0, -5.0, 5.0, 60.0, 600.0)
REGISTRY_FAULTS: tuple[Fault, ...] = (
    "slow", "error", "stale", "html", "truncated", "malformed", "loop", "foreign-link", "empty", "partial",
)  # fmt: skip
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
WORKER, POSTGRES, DIRECTORY = 6.0, 12.0, 20.0  # how long after its end a fault may be felt, in seconds


class Chaos:
    """Does harm to a running scene; `supervisor` is the process id of its `ddr serve`."""

    def __init__(self, stack: DemoStack, database: Database, ledger: Ledger, chance: random.Random) -> None:
        self._stack, self._database, self._ledger, self._chance = stack, database, ledger, chance
        self.supervisor = supervisor(stack.options.state_dir)
        self.spare_workers = False  # to see whether their memory grows

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        return children(self.supervisor)

    async def run(self, until: float) -> None:
        """Storms and calms in turns, until this instant of the steady clock."""
        while time.monotonic() < until:
            storm = min(time.monotonic() + STORM_SECONDS, until)
            while time.monotonic() < storm:
                await self._chance.choice(self._harms())()
                await asyncio.sleep(self._chance.uniform(0.5, 3))
            self._stack.registry.fault = ""
            await asyncio.sleep(min(CALM_SECONDS, max(0.0, until - time.monotonic())))

    def _harms(self) -> list[Callable[[], Awaitable[None]]]:
        harms: list[Callable[[], Awaitable[None]]] = [
            self._kill_backend, self._kill_postgres, self._stop_postgres, self._step_clock, self._break_registry,
        ]  # fmt: skip
        if not self.spare_workers:
            harms += [self._kill_worker, self._kill_worker, self._end_worker, self._stop_worker, self._reload]
        return harms

    async def _kill_worker(self) -> None:
        with self._ledger.fault("worker killed", WORKER):
            self._signal_worker(signal.SIGKILL)

    async def _end_worker(self) -> None:
        with self._ledger.fault("worker told to end", WORKER):
            self._signal_worker(signal.SIGTERM)
            await asyncio.sleep(2)

    async def _stop_worker(self) -> None:
        """It hangs for some seconds: sometimes it comes to itself, sometimes it was replaced."""
        with self._ledger.fault("worker stopped", WORKER):
            worker = self._signal_worker(signal.SIGSTOP)
            await asyncio.sleep(self._chance.uniform(1, 9))
            send(worker, signal.SIGCONT)

    async def _reload(self) -> None:
        with self._ledger.fault("rolling restart", WORKER):
            send(self.supervisor, signal.SIGHUP)
            await asyncio.sleep(5)

    async def _kill_backend(self) -> None:
        """SIGKILL of one session: PostgreSQL restarts all of them."""
        with self._ledger.fault("database session killed", POSTGRES):
            query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            with suppress(*AWAY):
                connection = await asyncpg.connect(self._database.url)
                found = [row["pid"] for row in await connection.fetch(query)]
                await connection.close()
                if found:
                    send(self._chance.choice(found))

    async def _kill_postgres(self) -> None:
        with self._ledger.fault("PostgreSQL killed", POSTGRES):
            await asyncio.to_thread(self._database.kill)

    async def _stop_postgres(self) -> None:
        """It hangs."""
        with self._ledger.fault("PostgreSQL stopped", POSTGRES):
            main = self._database.pid()
            send(main, signal.SIGSTOP)  # from then on it makes no other one
            stopped = [main, *children(main)]
            for process in stopped:
                send(process, signal.SIGSTOP)
            await asyncio.sleep(self._chance.uniform(1, 6))
            for process in stopped:
                send(process, signal.SIGCONT)

    async def _step_clock(self) -> None:
        """Nobody may notice, so this is no fault to the ledger."""
        with suppress(*AWAY):
            await clock.step(self._database.url, self._chance.choice(STEPS))
            self._ledger.answers["clock steps"] += 1

    async def _break_registry(self) -> None:
        """A reading that goes wrong may refuse a DiGA for as long as it lasts, and ends nothing."""
        self._stack.registry.slow_seconds = 3
        with self._ledger.fault("registry out of order", DIRECTORY):
            self._stack.registry.fault = self._chance.choice(REGISTRY_FAULTS)
            await self._read_registry()
            await asyncio.sleep(3)
            self._stack.registry.fault = ""
            await self._read_registry()

    async def _read_registry(self) -> None:
        with suppress(*AWAY):
            await self._stack.refresh_registry()

    def _signal_worker(self, number: signal.Signals) -> int:
        worker = self._chance.choice(self.workers() or [0])
        if worker:
            send(worker, number)
        return worker


def supervisor(state_dir: Path) -> int:
    """Our child whose settings are those of the scene."""
    wanted = f"DDR_SETTINGS={state_dir}/serve.toml".encode()
    for child in children(os.getpid()):
        with suppress(FileNotFoundError, ProcessLookupError):  # another one may end just now
            if wanted in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                return child
    raise AssertionError("the recorder does not run")
