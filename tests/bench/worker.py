"""The recorder of the bench: `ddr serve`, whose DiGA listener also answers /bench/floor with one durable statement, and
whose public listener answers /bench/turns with how long the event loop was blocked.

`python -m tests.bench.worker` starts it, and it starts its workers in the same way. A request for the floor passes the
same steps as every request on this listener (mutual TLS, HTTP), but none of the rooms behind it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import orjson

from ddr.cli import serve
from ddr.cli.main import reported
from ddr.cli.serving import process, worker
from ddr.http.asgi import ASGIApp, Receive, Reply, Scope, Send, send_reply
from ddr.http.lag import Lag
from ddr.settings import Settings
from ddr.store.database.pool import Pool, open_pool

PATH, TURNS = "/bench/floor", "/bench/turns"
CREATE = "CREATE TABLE bench_floor (at_ms bigint, client_id text, pairing_id text, detail text)"
INSERT = "INSERT INTO bench_floor VALUES ($1, $2, $3, $4)"
ROW = (1_795_000_000_000, "urn:diga:bfarm:00001", "ab" * 32, "as long as an entry of the audit trail is")
BODY = b'{"resourceType":"OperationOutcome"}'


def around(name: str, app: ASGIApp, settings: Settings) -> ASGIApp:
    """`app`, with the floor on the DiGA listener, and with the turns on the public one."""
    if name == "diga":
        return with_floor(app, settings)
    return with_turns(app) if name == "public" else app


def with_turns(app: ASGIApp) -> ASGIApp:
    """`app`, and at TURNS two times in milliseconds: the longest lag since somebody asked there last, and the processor
    time that the loop's thread used within one."""
    lag, watching = Lag(), list[asyncio.Task[None]]()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != TURNS:
            await app(scope, receive, send)
            return
        if not watching:
            watching.append(asyncio.create_task(lag.watch()))
        told = [1000 * lag.most, 1000 * lag.most_work]
        lag.most = lag.most_work = 0.0
        await send_reply(scope, send, Reply(200, orjson.dumps(told), "application/json"))

    return answer


def with_floor(app: ASGIApp, settings: Settings) -> ASGIApp:
    """`app`, and the durable floor at PATH."""
    opened: list[Pool] = []

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != PATH:
            await app(scope, receive, send)
            return
        if not opened:
            opened.append(await open_pool(settings))
        await opened[0].execute(INSERT, *ROW)
        await send_reply(scope, send, Reply(200, BODY, "application/json"))

    return answer


def main(arguments: list[str]) -> int:
    """Serve, or be one of the workers."""
    if arguments:
        return worker.main(arguments, around)
    process.module = "tests.bench.worker"
    return reported(lambda: serve.run(argparse.Namespace()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
