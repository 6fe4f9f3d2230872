"""One worker process: `python -m ddr.cli.serving.worker NUMBER SOCKETS`, started by the supervisor only.

At its end it finishes its requests. It waits for an unavailable database: only what an operator has to fix ends a
worker before it serves.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from ddr.allocator import keep_little
from ddr.app import Rooms, running
from ddr.cli.main import reported
from ddr.cli.serving import log as technical_log
from ddr.cli.serving.crowd import raise_descriptors
from ddr.cli.serving.handed import taken_over, taken_pair
from ddr.cli.serving.lifeline import Lifeline
from ddr.cli.serving.listeners import Listeners
from ddr.cli.serving.sockets import Sockets, from_argument
from ddr.collector import settle
from ddr.http.asgi import ASGIApp
from ddr.http.fleet import Fleet
from ddr.operations.figures import worker_figures
from ddr.reasons import kind_of
from ddr.settings import Settings
from ddr.settings_sources import load_settings
from ddr.store.database.errors import StoreError

# Before the rooms are open, each of these means that the database is unavailable, starting, or stopping again.
AWAY = (
    StoreError,
    ConnectionError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
SWITCH_SECONDS = 0.001  # how long a thread that works aside (ddr.aside) may delay the event loop
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 2.0
# Makes a worker count as larger by a tenth of the memory (proc(5), in thousandths).
OUT_OF_MEMORY, FIRST = Path("/proc/self/oom_score_adj"), 100

log = logging.getLogger(__name__)


Around = Callable[[str, ASGIApp, Settings], ASGIApp]


def plain(name: str, app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application of a listener, unchanged."""
    return app


async def work(number: int, sockets: Sockets, around: Around = plain) -> None:
    """Serve until the lifeline closes or SIGTERM arrives, then finish the requests.

    `around` wraps the application of each listener.
    """
    fleet = Fleet(number)
    first: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()

    def take_message(message: Mapping[str, Any]) -> None:
        if not first.done():
            first.set_result(message)
        if "workers" in message:
            fleet.learn(message["workers"], message["restarts"])

    lifeline = Lifeline(take_message)
    await lifeline.open()
    with suppress(asyncio.CancelledError):
        async with AsyncExitStack() as stack:
            given = await first  # a supervisor of an earlier version sends neither settings nor a pair
            settings = taken_over(given["settings"]) if "settings" in given else load_settings()
            rooms = await opened(stack, settings, fleet)
            lifeline.figures = lambda: worker_figures(rooms.core)
            apps = {name: around(name, app, rooms.core.settings) for name, app in rooms.listeners().items()}
            listeners = Listeners(rooms.core, apps, taken_pair(given.get("pair")))
            try:
                settle()  # while no request has to wait for it
                await listeners.start(sockets)
                lifeline.ready()
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                await listeners.stop()


async def opened(stack: AsyncExitStack, settings: Settings, fleet: Fleet) -> Rooms:
    """The rooms, entered into `stack` as soon as the database is available."""
    wait, said = FIRST_WAIT_SECONDS, ""
    while True:
        try:
            return await stack.enter_async_context(running(settings, fleet))
        except AWAY as error:
            reason = str(error) if isinstance(error, StoreError) else kind_of(error)
            if reason != said:
                log.warning("worker.waits_for_database", extra={"worker": fleet.number, "reason": reason})
            said = reason
        await asyncio.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def end_first() -> None:
    """When memory runs out, let the kernel kill a worker, which is replaced, not the supervisor, which is as large."""
    with suppress(OSError):  # it does not exist, or must not be written
        OUT_OF_MEMORY.write_text(str(min(int(OUT_OF_MEMORY.read_text("ascii")) + FIRST, 1000)), "ascii")


def main(arguments: list[str], around: Around = plain) -> int:
    """Exit status 1 when the worker cannot start."""
    technical_log.configure()
    keep_little()
    raise_descriptors()
    end_first()
    sys.setswitchinterval(SWITCH_SECONDS)
    number, sockets = int(arguments[0]), from_argument(arguments[1])

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work(number, sockets, around))

    return reported(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
