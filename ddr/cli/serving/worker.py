"""One worker process: `python -m ddr.cli.serving.worker`, started by the supervisor only.

Its stdin is a lifeline: when that closes, because the supervisor stops or is gone, the worker finishes what it has in
hand and ends. It writes one line to stdout as soon as it serves.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress

import uvloop

from ddr.app import running
from ddr.cli.main import reported
from ddr.cli.serving import log, sockets
from ddr.cli.serving.listeners import Listeners
from ddr.cli.serving.supervisor import READY
from ddr.settings import load_settings


async def work() -> None:
    """Serve until the lifeline closes or SIGTERM comes, then finish the requests in hand."""
    _end_on_request(asyncio.current_task())
    with suppress(asyncio.CancelledError):
        async with running(load_settings()) as rooms:
            listeners = Listeners(rooms.core, rooms.listeners())
            try:
                await listeners.start(sockets.from_environment())
                os.write(sys.stdout.fileno(), READY)
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                await listeners.stop()


def _end_on_request(task: asyncio.Task[None] | None) -> None:
    """Cancel `task`, once, when this process shall end: while it starts that means at once."""
    assert task is not None
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.remove_reader(sys.stdin.fileno())
        loop.add_signal_handler(signal.SIGTERM, lambda: None)
        task.cancel()

    loop.add_reader(sys.stdin.fileno(), end)  # nobody ever writes to it: readable means closed
    loop.add_signal_handler(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides


def main() -> int:
    """Exit status 1 when the worker cannot start."""
    log.configure()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return reported(lambda: runner.run(work()))


if __name__ == "__main__":
    sys.exit(main())
