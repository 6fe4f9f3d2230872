"""One process of the DiGA: python -m tests.poller.diga DIGA.toml DATABASE-URL FOLDER INTERVAL.

It writes what it receives into FOLDER, line by line, so that it survives a sudden end.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import asyncpg

from ddr.client import Diga, News, PostgresJournal, PostgresTokens, Watch

CONNECTIONS = 12
AT_ONCE = 8
NEVER_SECONDS = 1e9  # looks at everything only when the scene asks for it


class Notes:
    """Files that only grow, one for each process."""

    def __init__(self, folder: Path) -> None:
        self._changes = (folder / f"changes-{os.getpid()}.jsonl").open("ab", buffering=0)
        self._ended = (folder / f"ended-{os.getpid()}.txt").open("ab", buffering=0)

    async def take(self, news: News) -> None:
        """A line for each change: when, whose, what, which version, and a digest of its content."""
        lines = [
            {
                "at": time.time(),
                "pairing": news.pairing_id,
                "kind": change.kind.value,
                "id": change.id,
                "version": None if change.resource is None else change.resource["meta"]["versionId"],
                "digest": None if change.resource is None else digest(change.resource),
            }
            for change in news.changes
        ]
        self._changes.write("".join(json.dumps(line) + "\n" for line in lines).encode())

    async def end(self, pairing_id: str) -> None:
        """A pairing that is over."""
        self._ended.write(f"{pairing_id}\n".encode())


def digest(resource: dict[str, object]) -> str:
    """Tells contents apart."""
    return hashlib.sha256(json.dumps(resource, sort_keys=True).encode()).hexdigest()


async def run(config: Path, url: str, folder: Path, interval: float) -> None:
    """Until SIGTERM; then what was done is written into FOLDER."""
    diga, stop = Diga.from_file(config), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    notes = Notes(folder)
    async with asyncpg.create_pool(url, min_size=1, max_size=CONNECTIONS) as pool, diga.http() as http:
        service = Watch(
            *(diga, http, PostgresTokens(pool), PostgresJournal(pool), notes.take),
            interval=interval,
            concurrency=AT_ONCE,
            ended=notes.end,
            whole_seconds=NEVER_SECONDS,
        )
        await service.run(stop)
    (folder / f"figures-{os.getpid()}.json").write_text(json.dumps(vars(service.figures)))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])))
