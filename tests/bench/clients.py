"""A separate process that sends requests to recorders, so that the cost of the load is in nobody else's processor time.

`python -m tests.bench.clients` reads an order (JSON, one line) from stdin and opens connections, one per pairing, which
it keeps. Each further line names a kind of work, a port, and a duration in seconds; the response is a line with the
results (tests.bench.turns).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

from ddr.demo.certs import Pair
from ddr.demo.diga_client import Tokens
from ddr.demo.tls import client_context
from tests.bench.caller import Caller, Paired, changed_since
from tests.bench.line import Line
from tests.bench.turns import Done, Drive, Step, driven

WORKS = ("floor", "read", "poll")
LARGE = 1 << 20  # bytes that a line may have


@dataclass(frozen=True)
class Client:
    """One pairing: its tokens, its newest Observation, and since when nothing has changed."""

    tokens: Tokens
    newest: str
    changed_ms: int


@dataclass(frozen=True)
class Order:
    """Whom to ask, and as who: ports of the recorder whose address is `base`, each with its number of connections."""

    base: str
    ports: Sequence[tuple[int, int]]
    ca: str
    certificate: str
    key: str
    client_id: str
    clients: Sequence[Client]


async def _steps(order: Order, port: int, connections: int, pairings: Sequence[Paired]) -> dict[str, list[Step]]:
    tls = client_context(Path(order.ca), Pair(Path(order.certificate), Path(order.key)))
    caller = Caller(tls, urlsplit(order.base), order.client_id)
    place = urlsplit(f"//{caller.place.hostname}:{port}")
    steps: dict[str, list[Step]] = {name: [] for name in WORKS}
    for client, paired in zip(order.clients[:connections], pairings[:connections], strict=True):
        line = await Line.open(place, tls)
        first = Paired(client.tokens)  # an access token that polls leave as it is
        steps["floor"].append(caller.floor(line))
        steps["read"].append(caller.get(line, f"/fhir/Observation/{client.newest}", first))
        steps["poll"].append(partial(caller.poll, line, paired, changed_since(client.changed_ms)))
    return steps


async def main() -> None:
    """Until the end of stdin."""
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(LARGE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    told = json.loads(await reader.readline())
    clients = [Client(Tokens(*one["tokens"].values()), one["newest"], one["changed_ms"]) for one in told.pop("clients")]
    order = Order(**told, clients=clients)
    pairings = [Paired(client.tokens) for client in order.clients]
    steps = {port: await _steps(order, port, count, pairings) for port, count in order.ports}
    while line := await reader.readline():
        work, port, seconds = json.loads(line)
        print(json.dumps(await driven(steps[port][work], seconds)), flush=True)


@asynccontextmanager
async def clients_of(order: Order) -> AsyncIterator[Callable[[str, int], Drive]]:
    """That process: a work at a port is a load."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.clients"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    reader, writer = process.stdout, process.stdin
    assert reader is not None and writer is not None

    async def drive(work: str, port: int, seconds: float) -> Done:
        writer.write(_line([work, port, seconds]))
        if not (answer := await reader.readline()):
            raise RuntimeError("the clients have ended")
        return Done(*json.loads(answer))

    writer.write(_line(asdict(order)))
    try:
        yield lambda work, port: partial(drive, work, port)
    finally:
        writer.close()
        await process.wait()


def _line(content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
